"""Proofs for the pages on backends and on what comes after DDP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numbers_concepts3
import pytest
import stage_memory
import torch
import torch.distributed as torch_dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.distributed.constants import default_pg_timeout
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.model import sizes

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "site_docs" / "_tools"


def rows(num: int = 2) -> torch.Tensor:
    return torch.ones(num)


# The page says that gloo has these for CPU tensors.
OPERATIONS = {
    "all_reduce": lambda w, r: torch_dist.all_reduce(rows()),
    "broadcast": lambda w, r: torch_dist.broadcast(rows(), 0),
    "reduce": lambda w, r: torch_dist.reduce(rows(), 0),
    "all_gather": lambda w, r: torch_dist.all_gather([rows()] * w, rows()),
    "gather": lambda w, r: torch_dist.gather(
        rows(), [rows() for _ in range(w)] if r == 0 else None
    ),
    "scatter": lambda w, r: torch_dist.scatter(
        rows(), [rows() for _ in range(w)] if r == 0 else None
    ),
    "reduce_scatter": lambda w, r: torch_dist.reduce_scatter(rows(), [rows()] * w),
    "all_to_all": lambda w, r: torch_dist.all_to_all(
        [rows() for _ in range(w)], [rows() for _ in range(w)]
    ),
    "send and recv": lambda w, r: (
        torch_dist.send(rows(), 1) if r == 0 else torch_dist.recv(rows(), 0)
    ),
    "barrier": lambda w, r: torch_dist.barrier(),
    "monitored_barrier": lambda w, r: torch_dist.monitored_barrier(),
}


def try_gloo(ranks: dist.Ranks, out: Path) -> None:
    results: dict[str, str] = {}
    for name, call in OPERATIONS.items():
        call(ranks.world_size, ranks.rank)
        results[name] = "done"
    average = torch.tensor([float(ranks.rank)])
    torch_dist.all_reduce(average, op=torch_dist.ReduceOp.AVG)
    results["average"] = str(average.item())
    try:
        unknown = torch_dist._make_nccl_premul_sum(2.0)
        torch_dist.all_reduce(rows(), op=unknown)
        results["nccl's own operation"] = "done"
    except (RuntimeError, ValueError) as error:
        results["nccl's own operation"] = type(error).__name__
    (out / f"{ranks.rank}.json").write_text(json.dumps(results), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_gloo_has_the_operations_that_the_page_lists(tmp_path: Path) -> None:
    dist.launch(try_gloo, tmp_path, num_ranks=2, timeout_s=30)
    for rank in range(2):
        results = json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8"))
        assert [results[name] for name in OPERATIONS] == ["done"] * len(OPERATIONS)
        assert results["average"] == "0.5"
        # Negative control: what gloo lacks is noticed.
        assert results["nccl's own operation"] != "done"


def test_the_default_timeout_of_other_backends_is_half_an_hour() -> None:
    assert default_pg_timeout.total_seconds() == 30 * 60


# --- Compression hooks --------------------------------------------------------------


def overflow(ranks: dist.Ranks, out: Path) -> None:
    """One rank's gradient is infinite; and one that float16 cannot hold."""
    gradients: dict[str, Any] = {}
    for name, hook, scale in (
        ("inf spreads", None, float("inf")),
        # WHY not the hook itself: DDP refuses it by name without CUDA (torch 2.13).
        (
            "bf16",
            lambda state, bucket: default_hooks.bf16_compress_hook(state, bucket),
            1e5,
        ),
        ("fp16", default_hooks.fp16_compress_hook, 1e5),
    ):
        torch.manual_seed(0)
        replica = DistributedDataParallel(nn.Linear(1, 1, bias=False))
        if hook is not None:
            replica.register_comm_hook(None, hook)
        factor = scale if ranks.rank == 1 else 1.0
        (replica(torch.ones(1, 1)) * factor).sum().backward()
        gradients[name] = replica.module.weight.grad.item()
    (out / f"{ranks.rank}.json").write_text(json.dumps(gradients), encoding="utf-8")


@pytest.mark.slow
def test_an_infinite_gradient_of_one_rank_is_infinite_on_all(tmp_path: Path) -> None:
    dist.launch(overflow, tmp_path, num_ranks=2, timeout_s=30)
    for rank in range(2):
        gradients = json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8"))
        assert gradients["inf spreads"] == float("inf")
        # The hook casts before it divides: 100,000 is above float16's 65,504.
        assert gradients["fp16"] == float("inf")
        # Negative control: bfloat16 has float32's range.
        assert abs(gradients["bf16"] - 50_000.5) < 500


# --- The numbers ----------------------------------------------------------------------


def test_sharding_stages_send_and_hold_what_the_paper_counts() -> None:
    """By hand: ZeRO (Rajbhandari et al. 2020), sections 5 and 7, in float32."""
    each = [
        float(line.split("|")[2])
        for line in numbers_concepts3.memory_by_stage().splitlines()[2:]
    ]
    assert each == [16.0, 9.0, 5.5, 2.0]
    units = [
        int(line.split("|")[3])
        for line in numbers_concepts3.stage_traffic().splitlines()[2:]
    ]
    assert units == [2, 2, 3]


def kept_for_backward(name: str, *, rows: int, tokens: int) -> int:
    """Bytes of activations that torch itself keeps after a forward of a size."""
    net = sizes.build(name)
    own = {p.untyped_storage().data_ptr() for p in (*net.parameters(), *net.buffers())}
    kept: dict[int, tuple[torch.UntypedStorage, int]] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage, storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(torch.ones(rows, tokens, dtype=torch.long)).logits.sum().backward()
    return sum(num_bytes for _, num_bytes in kept.values())


def test_the_assumed_activations_are_near_what_torch_keeps_of_a_layer() -> None:
    """Of 3 and 6 layers: embeddings, head and our shorter last layer cancel out."""
    at = {"rows": 4, "tokens": 64}
    three, six = (
        kept_for_backward(name, **at) for name in ("minilm_3_layers", "minilm")
    )
    size = sizes.SIZES["minilm"]
    assumed = stage_memory.activation_bytes(3, size.dim, size.hidden_dim, **at)
    print(f"kept {(six - three) / 1e6:.2f} MB, assumed {assumed / 1e6:.2f} MB")
    assert six - three == pytest.approx(assumed, rel=0.01)
    # Negative control: without the inside of the feed-forward part it would be half.
    assert six - three != pytest.approx(
        stage_memory.activation_bytes(3, size.dim, 0, **at), rel=0.1
    )


def test_a_forgotten_no_sync_costs_three_more_meetings_in_a_step_of_four_pieces() -> (
    None
):
    rows = [
        line.strip("| ").split(" | ")
        for line in numbers_concepts3.small_batches().splitlines()[2:]
    ]
    [meeting] = [row[2] for row in rows if row[0].strip() == "4"]
    one_ms = float(meeting.split(" ms")[0])
    ours = numbers_concepts3.forgotten_no_sync().splitlines()[2].strip("| ").split("|")
    extra_ms = float(ours[1].replace(" ms", ""))
    assert extra_ms == pytest.approx(3 * one_ms, abs=2)  # both are rounded
    assert float(ours[2].replace(" min", "")) == pytest.approx(
        3750 * extra_ms / 60_000, abs=0.1
    )
