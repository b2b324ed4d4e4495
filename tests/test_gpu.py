"""Proofs that need GPUs: nccl, a GPU a rank, and what CPUs cannot show.

Each proof has the same code for both kinds of device. On "cpu" (gloo) it runs in CI, so
that its code is executed before anybody spends GPU hours on it; on "cuda" (nccl) it
runs with as many ranks as there are GPUs: `python -m pytest -m gpu
tests/test_gpu.py`. The Kaggle notebook does that in a cell.
"""

from __future__ import annotations

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as torch_dist
from helpers import chapters
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist, model, sync
from distrinews.dist import Ranks
from distrinews.errors import DistriNewsError

NUM_GPUS = torch.cuda.device_count() if torch.cuda.is_available() else 0
# WHY a power of two: it divides every batch here.
NUM_RANKS = {"cpu": 2, "cuda": 1 << max(1, NUM_GPUS.bit_length() - 1)}
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}
# WHY longer on GPUs: it also bounds the meeting, and nccl takes seconds to begin.
TIMEOUT_S = {"cpu": 5.0, "cuda": 30.0}
NUM_STEPS, NUM_ROWS, NUM_TOKENS = 10, 32, 16
# Sums in another order, ten steps long. Measured on two CPU ranks: 1.2e-7. A mistake
# is larger than the tolerance by a factor of a hundred, see the control.
TOLERANCE = 1e-4

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(
    params=[
        pytest.param("cpu", marks=pytest.mark.slow),
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(
                    NUM_GPUS < 2, reason=f"needs two GPUs, torch sees {NUM_GPUS}"
                ),
            ],
        ),
    ]
)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "cpu":  # also where there are GPUs
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    return str(request.param)


def launch(fn: Callable[..., None], *args: Any, device: str, **options: Any) -> None:
    dist.launch(fn, *args, num_ranks=NUM_RANKS[device], **options)


def results_of(folder: pathlib.Path, device: str) -> list[Any]:
    """What each rank left for us, by rank."""
    return [torch.load(folder / f"{rank}.pt") for rank in range(NUM_RANKS[device])]


# --- Each rank a device of its own, and nccl between them -------------------------


def describe(ranks: Ranks, out: pathlib.Path) -> None:
    number = torch.ones(1, device=ranks.device)
    torch_dist.all_reduce(number)
    on_gpu = ranks.device.type == "cuda"
    group = torch_dist.distributed_c10d._get_default_group()
    facts = {
        "local_rank": ranks.local_rank,
        "device": str(ranks.device),
        "current": torch.cuda.current_device() if on_gpu else None,
        "chip": str(torch.cuda.get_device_properties(ranks.device).uuid)
        if on_gpu
        else f"cpu of rank {ranks.rank}",
        "backend": group._get_backend(ranks.device).name(),
        "sum": number.item(),
    }
    (out / f"{ranks.rank}.json").write_text(json.dumps(facts), encoding="utf-8")


def faults(facts_by_rank: list[dict[str, Any]], device: str) -> list[str]:
    """What would be wrong with such ranks."""
    problems = []
    for rank, facts in enumerate(facts_by_rank):
        want = f"cuda:{facts['local_rank']}" if device == "cuda" else "cpu"
        if facts["device"] != want:
            problems.append(f"rank {rank} computes on {facts['device']}, not {want}")
        if device == "cuda" and facts["current"] != facts["local_rank"]:
            problems.append(f"rank {rank}: new tensors go to GPU {facts['current']}")
        if facts["backend"] != BACKENDS[device]:
            problems.append(f"rank {rank} speaks {facts['backend']}")
        if facts["sum"] != len(facts_by_rank):
            problems.append(
                f"rank {rank} heard {facts['sum']} of {len(facts_by_rank)} ranks"
            )
    if len({facts["chip"] for facts in facts_by_rank}) < len(facts_by_rank):
        problems.append("two ranks share a device")
    return problems


def test_every_rank_has_the_device_of_its_local_rank_and_reaches_all_others(
    device: str, tmp_path: pathlib.Path
) -> None:
    launch(describe, tmp_path, device=device)
    files = sorted(tmp_path.iterdir())
    facts_by_rank = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    assert len(facts_by_rank) == NUM_RANKS[device]
    assert faults(facts_by_rank, device) == []
    pairs = [(facts["device"], facts["backend"]) for facts in facts_by_rank]
    print(f"{device}: {pairs}")


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_ranks_that_share_a_device_or_speak_another_backend_are_noticed(
    kind: str,
) -> None:
    """Negative control for what is above, on invented answers."""
    fine = [
        {
            "local_rank": rank,
            "device": f"cuda:{rank}" if kind == "cuda" else "cpu",
            "current": rank,
            "chip": f"chip {rank}",
            "backend": BACKENDS[kind],
            "sum": 2.0,
        }
        for rank in range(2)
    ]
    assert faults(fine, kind) == []
    wrong = {"chip": "chip 0", "backend": "mpi", "sum": 1.0, "device": "cuda:7"}
    for name, value in wrong.items():
        assert faults([fine[0], fine[1] | {name: value}], kind), name
    assert bool(faults([fine[0], fine[1] | {"current": 0}], kind)) == (kind == "cuda")


# --- Several ranks train what one trains ------------------------------------------


def new_model(device: torch.device) -> nn.Module:
    torch.manual_seed(5)
    return model.build("tiny", dropout=0.0, vocabulary_size=200).to(device)


def wrapped(net: nn.Module, ranks: Ranks) -> nn.Module:
    gpu = [ranks.device.index] if ranks.device.type == "cuda" else None
    return DistributedDataParallel(net, device_ids=gpu)


def loss_of(net: nn.Module, step: int, ranks: Ranks) -> torch.Tensor:
    """The mean loss over this rank's part of a global batch."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, 200, (NUM_ROWS, NUM_TOKENS), generator=generator)
    labels = torch.randint(0, 4, (NUM_ROWS,), generator=generator)
    local_rows = slice(ranks.rank, None, ranks.world_size)
    logits = net(input_ids=ids[local_rows].to(ranks.device)).logits
    return F.cross_entropy(logits, labels[local_rows].to(ranks.device))


def train(ranks: Ranks, *, averaged: bool = True) -> torch.Tensor:
    """Some steps of SGD; all weights in one vector on the CPU."""
    net = new_model(ranks.device)
    replica = wrapped(net, ranks) if ranks.world_size > 1 else net
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(NUM_STEPS):
        optimizer.zero_grad()
        with sync.no_sync_unless(averaged, replica=replica):
            loss_of(replica, step, ranks).backward()
        optimizer.step()
    return torch.cat([p.detach().flatten().cpu() for p in net.parameters()])


def train_both(ranks: Ranks, out: pathlib.Path) -> None:
    weights = {"averaged": train(ranks), "alone": train(ranks, averaged=False)}
    torch.save(weights, out / f"{ranks.rank}.pt")


def gap(left: torch.Tensor, right: torch.Tensor) -> float:
    return float((left - right).abs().max())


def test_all_ranks_train_what_one_device_trains(
    device: str, tmp_path: pathlib.Path
) -> None:
    launch(train_both, tmp_path, device=device)
    by_rank = results_of(tmp_path, device)
    here = torch.device("cuda", 0) if device == "cuda" else torch.device("cpu")
    want = train(Ranks(0, local_rank=0, world_size=1, device=here))
    for weights in by_rank:
        assert gap(weights["averaged"], want) < TOLERANCE
        # Replicas: equal in every bit.
        assert torch.equal(weights["averaged"], by_rank[0]["averaged"])
        # Negative control: without averaging they train something else.
        assert gap(weights["alone"], want) > 100 * TOLERANCE
    assert gap(by_rank[0]["alone"], by_rank[1]["alone"]) > 100 * TOLERANCE
    largest = max(gap(weights["averaged"], want) for weights in by_rank)
    print(f"{device}: gap {largest:.1e}")


# --- The written-out averaging is DDP's -------------------------------------------


def gradients(net: nn.Module) -> torch.Tensor:
    grads = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
    return torch.cat(grads).cpu()


def average_both_ways(ranks: Ranks, out: pathlib.Path) -> None:
    gradients_by_variant = {}
    for variant in ("ddp", "written out", "none"):
        net = new_model(ranks.device)
        replica = wrapped(net, ranks) if variant == "ddp" else net
        loss_of(replica, 0, ranks).backward()
        if variant == "written out":
            sync.average_gradients(net)
        gradients_by_variant[variant] = gradients(net)
    torch.save(gradients_by_variant, out / f"{ranks.rank}.pt")


def test_hand_written_averaging_gives_the_gradients_of_ddp(
    device: str, tmp_path: pathlib.Path
) -> None:
    launch(average_both_ways, tmp_path, device=device)
    for by_variant in results_of(tmp_path, device):
        assert by_variant["ddp"].abs().max() > 1e-3
        assert gap(by_variant["written out"], by_variant["ddp"]) < 1e-6
        assert gap(by_variant["none"], by_variant["ddp"]) > 1e-3  # negative control


# --- Resumed, to the last bit -----------------------------------------------------


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(device: str) -> None:
    """With --deterministic; on GPUs some sums have no order of their own without it."""
    words = (chapters.CHAPTER_05, *chapters.SMALL, "--deterministic")
    words = (*words, "--num-ranks", NUM_RANKS[device])
    env = {"CUDA_VISIBLE_DEVICES": "-1"} if device == "cpu" else {}
    whole = chapters.run(*words, env=env)
    assert f"{NUM_RANKS[device]} on {device}" in whole.out
    first = chapters.run(*words, "--max-steps", "20", env=env)
    with pytest.raises(AssertionError):  # negative control: 16 steps are missing
        chapters.same_training_state(first.run_folder, whole.run_folder)
    name = first.run_folder.name
    done = chapters.run(*words, "--resume", name=name, env=env)
    assert "after step 20" in done.out
    chapters.same_training_state(done.run_folder, whole.run_folder)
    assert done.left == []


# --- A rank that never comes ------------------------------------------------------


def come_late(ranks: Ranks, late_s: float) -> None:
    if ranks.rank == 1:
        time.sleep(late_s)
    number = torch.ones(1, device=ranks.device)
    torch_dist.all_reduce(number)
    if ranks.device.type == "cuda":
        torch.cuda.synchronize()  # nccl only queues; here it is waited for
    if number.item() != ranks.world_size:
        raise ValueError(f"heard {number.item()} ranks")


def test_a_rank_that_never_comes_ends_in_an_error_and_not_in_a_hang(
    device: str,
) -> None:
    began_s = time.monotonic()
    with pytest.raises(DistriNewsError):
        launch(come_late, 900.0, device=device, timeout_s=TIMEOUT_S[device])
    took_s = time.monotonic() - began_s
    assert took_s < 200
    print(f"{device}: given up after {took_s:.0f} s")


def test_a_rank_that_comes_late_is_waited_for(device: str) -> None:
    """Negative control: it is the timeout that ends the wait above."""
    launch(come_late, 2.0, device=device, timeout_s=120.0)
