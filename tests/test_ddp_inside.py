"""Proofs for the pages on DDP: what it sends in which step, and what it leaves alone.

The collectives are those that the profiler saw gloo do, not what DDP says of itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from distrinews import dist, sync
from distrinews.bench.costmodel import calibration
from distrinews.model import sizes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
PRESET = "minilm"
TENSORS = len(sizes.gradient_bytes(PRESET))
BUCKETS = [
    size for _, size in calibration.ddp_buckets(PRESET, calibration.DEFAULT_BUCKET_MIB)
]
ALL = [sum(sizes.gradient_bytes(PRESET))]
POSITIONS = [512 * 8]  # the only buffer: int64, one per place
# What rank 0 tells when buckets are rebuilt: the order, and how many are in each.
ORDER = [4 * (TENSORS + 1), 4 * len(BUCKETS)]
USED = [4 * TENSORS]
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "find_unused": {"find_unused_parameters": True},
    "static": {"static_graph": True},
    "accumulated": {},
}
Sent = dict[str, list[int]]


def watch(step: Callable[[], None], *, buffers: set[int]) -> Sent:
    """Bytes of every broadcast, bucket and map of used parameters of a step, in order.

    WHY the map stands apart: DDP queues it microseconds beside a bucket, and gloo has
    two threads that take from the queue; which of them starts first is chance.
    """
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        step()
    sent: Sent = {"broadcast": [], "all_reduce": [], "used_map": []}
    for event in seen.events():
        kind = event.name.removeprefix("gloo:")
        if event.name.startswith("gloo:") and kind in sent:
            [elements] = event.input_shapes[0]
            width = 8 if kind == "broadcast" and elements in buffers else 4
            is_map = kind == "all_reduce" and width * elements in USED
            sent["used_map" if is_map else kind].append(width * elements)
    return sent


def write_results(ranks: dist.Ranks, out: Path) -> None:
    ids = torch.ones(2, 8, dtype=torch.long)
    results: dict[str, list[Sent]] = {}
    for kind, options in KINDS.items():
        net = sizes.build(PRESET)
        assert [b.nbytes for b in net.buffers()] == POSITIONS
        replica = DistributedDataParallel(net, **options)
        results[kind] = []
        for number in range(4):
            syncs = kind != "accumulated" or number % 2 == 1

            def step(
                replica: nn.Module = replica,
                syncs: bool = syncs,
            ) -> None:
                with sync.no_sync_unless(syncs, replica=replica):
                    replica(ids).logits.sum().backward()

            results[kind].append(watch(step, buffers={512}))
            if syncs:
                net.zero_grad()
    torch.save(results, out / f"{ranks.rank}.pt")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Sent]]:
    out = tmp_path_factory.mktemp("inside")
    dist.launch(write_results, out, num_ranks=2, timeout_s=100)
    first, second = (torch.load(out / f"{rank}.pt") for rank in range(2))
    assert first == second
    return first


def test_the_first_step_sends_one_bucket_and_later_ones_what_the_cost_model_cuts(
    results: dict[str, list[Sent]],
) -> None:
    assert len(BUCKETS) == 3
    assert results["plain"] == [
        {"broadcast": POSITIONS, "all_reduce": ALL, "used_map": []},
        {"broadcast": ORDER + POSITIONS, "all_reduce": BUCKETS, "used_map": []},
        {"broadcast": POSITIONS, "all_reduce": BUCKETS, "used_map": []},
        {"broadcast": POSITIONS, "all_reduce": BUCKETS, "used_map": []},
    ]


def test_looking_for_unused_parameters_costs_an_all_reduce_and_the_rebuilding(
    results: dict[str, list[Sent]],
) -> None:
    """Negative control: with the flag the buckets are other ones, in every step."""
    for step in results["find_unused"]:
        assert step["broadcast"] == POSITIONS
        assert step["used_map"] == USED
        assert sum(step["all_reduce"]) == sum(ALL)
        assert step["all_reduce"] != BUCKETS
        assert len(step["all_reduce"]) == len(BUCKETS)


def test_a_static_graph_is_watched_for_one_step_and_rebuilt_after_the_second(
    results: dict[str, list[Sent]],
) -> None:
    assert results["static"] == [
        {"broadcast": POSITIONS, "all_reduce": ALL, "used_map": USED},
        {"broadcast": POSITIONS, "all_reduce": ALL, "used_map": []},
        {"broadcast": ORDER + POSITIONS, "all_reduce": BUCKETS, "used_map": []},
        {"broadcast": POSITIONS, "all_reduce": BUCKETS, "used_map": []},
    ]


def test_two_micro_batches_send_gradients_and_buffers_once(
    results: dict[str, list[Sent]],
) -> None:
    assert results["accumulated"] == [
        {"broadcast": POSITIONS, "all_reduce": [], "used_map": []},
        {"broadcast": [], "all_reduce": ALL, "used_map": []},
        {"broadcast": ORDER + POSITIONS, "all_reduce": [], "used_map": []},
        {"broadcast": [], "all_reduce": BUCKETS, "used_map": []},
    ]


class Counter(nn.Module):
    """A layer that notes how many rows it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen: list[int] = []

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(rows))
        out: torch.Tensor = self.layer(rows)
        return out


def count_rows(ranks: dist.Ranks, out: Path) -> None:
    rows = torch.ones(6 if ranks.is_main else 4, 1)
    net = Counter()
    replica = DistributedDataParallel(net)
    for batch in (rows, rows[ranks.rank :: ranks.world_size]):
        replica(batch).sum().backward()
    torch.save(net.seen, out / f"{ranks.rank}.pt")


def test_ddp_computes_exactly_the_rows_that_each_rank_passed(tmp_path: Path) -> None:
    dist.launch(count_rows, tmp_path, num_ranks=2, timeout_s=60)
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert [whole for whole, _ in results] == [6, 4]
    # Negative control: a caller who cuts is seen to cut.
    assert [cut for _, cut in results] == [3, 2]


def wrap_and_forget(ranks: dist.Ranks, out: Path) -> None:
    net = nn.Linear(1, 1, bias=False)
    row = torch.tensor([[1.0 + 2 * ranks.rank]])  # also its gradient: 1 and 3
    DistributedDataParallel(net)(row).sum().backward()
    gradients = [net.weight.grad.item()]
    net.zero_grad()
    replica = DistributedDataParallel(net)
    replica(row).sum().backward()
    gradients.append(net.weight.grad.item())
    torch.save(gradients, out / f"{ranks.rank}.pt")


def test_a_wrapper_that_nobody_keeps_averages_nothing(tmp_path: Path) -> None:
    dist.launch(wrap_and_forget, tmp_path, num_ranks=2, timeout_s=60)
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert [forgotten for forgotten, _ in results] == [1.0, 3.0]
    assert [kept for _, kept in results] == [2.0, 2.0]  # negative control


class Sometimes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.always = nn.Linear(1, 1, bias=False)
        self.first = nn.Linear(1, 1, bias=False)

    def forward(self, row: torch.Tensor, *, both: bool) -> torch.Tensor:
        out: torch.Tensor = self.always(row)
        return out + self.first(row) if both else out


def use_in_the_first_only(ranks: dist.Ranks, out: Path) -> None:
    net = Sometimes()
    replica = DistributedDataParallel(net, find_unused_parameters=True)
    row = torch.tensor([[1.0 + 2 * ranks.rank]])  # also its gradient: 1 and 3
    with replica.no_sync():
        replica(row, both=True).sum().backward()
    before = net.first.weight.grad.item()
    replica(row, both=False).sum().backward()
    after = [layer.weight.grad.item() for layer in (net.always, net.first)]
    torch.save([before, *after], out / f"{ranks.rank}.pt")


def test_what_only_an_earlier_micro_batch_used_is_averaged_all_the_same(
    tmp_path: Path,
) -> None:
    dist.launch(use_in_the_first_only, tmp_path, num_ranks=2, timeout_s=60)
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert [before for before, _, _ in results] == [1.0, 3.0]  # negative control
    assert [after for _, *after in results] == [[4.0, 2.0]] * 2


ROWS = torch.arange(24, dtype=torch.float64).reshape(8, 3).sin() * 3
WITHOUT_BROADCAST = (
    {"forward_sync_buffers": False}
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    else {"broadcast_buffers": False}  # before torch 2.13
)


def normalising(layer: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), layer, nn.Tanh(), nn.Linear(4, 1)).double()


def gradient_of(net: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    net(rows).square().mean().backward()
    return torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])


def normalise(ranks: dist.Ranks, out: Path) -> None:
    local_rows = ROWS.chunk(2)[ranks.rank]
    results: dict[str, Any] = {}
    for name, layer in (("batch", nn.BatchNorm1d(4)), ("layer", nn.LayerNorm(4))):
        results[name] = gradient_of(
            DistributedDataParallel(normalising(layer)), local_rows
        )
    for name, options in (("broadcast", {}), ("alone", WITHOUT_BROADCAST)):
        norm = nn.BatchNorm1d(4)
        replica = DistributedDataParallel(normalising(norm), **options)
        gradient_of(replica, local_rows)
        results[f"{name}: after"] = norm.running_mean.clone()
        norm.register_forward_pre_hook(
            lambda module, _, at=f"{name}: next": results.update({
                at: module.running_mean.clone()
            })
        )
        gradient_of(replica, local_rows)
    synced = nn.SyncBatchNorm.convert_sync_batchnorm(normalising(nn.BatchNorm1d(4)))
    with pytest.raises(ValueError, match="only work with GPU modules"):
        DistributedDataParallel(synced)
    torch.save(results, out / f"{ranks.rank}.pt")


def test_layer_norm_keeps_n_ranks_equal_to_one_and_batch_norm_does_not(
    tmp_path: Path,
) -> None:
    dist.launch(normalise, tmp_path, num_ranks=2, timeout_s=60)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    want = gradient_of(normalising(nn.LayerNorm(4)), ROWS)
    torch.testing.assert_close(first["layer"], want, rtol=0, atol=1e-12)
    # Negative control: rows that are normalised among themselves.
    want = gradient_of(normalising(nn.BatchNorm1d(4)), ROWS)
    assert (first["batch"] - want).abs().max() > 1e-2

    # Rank 0's statistics replace the others' before the next forward ...
    assert not torch.allclose(first["broadcast: after"], second["broadcast: after"])
    for results in (first, second):
        assert torch.equal(results["broadcast: next"], first["broadcast: after"])
    # ... and nothing else does: told not to, each rank keeps its own.
    for results in (first, second):
        assert torch.equal(results["alone: next"], results["alone: after"])
    assert not torch.allclose(first["alone: next"], second["alone: next"])
