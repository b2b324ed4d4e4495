"""Proofs for the pages on DDP: what it sends in which step, and what it leaves alone.

The collectives are those that the profiler saw gloo do, not what DDP says of itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.profiler import ProfilerActivity, profile

from distrinews import calibration, dist, sizes, sync

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]
PRESET = "minilm"
TENSORS = len(sizes.gradient_bytes(PRESET))
BUCKETS = [size for _, size in calibration.cut(PRESET, calibration.DEFAULT_BUCKET_MIB)]
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
    """Bytes of every broadcast and all-reduce of a step, in order."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
        step()
    sent: Sent = {"broadcast": [], "all_reduce": []}
    for event in seen.events():
        kind = event.name.removeprefix("gloo:")
        if event.name.startswith("gloo:") and kind in sent:
            [elements] = event.input_shapes[0]
            width = 8 if kind == "broadcast" and elements in buffers else 4
            sent[kind].append(width * elements)
    return sent


def tell(ranks: dist.Ranks, out: Path) -> None:
    ids = torch.ones(2, 8, dtype=torch.long)
    told: dict[str, list[Sent]] = {}
    for kind, options in KINDS.items():
        net = sizes.build(PRESET)
        assert [b.nbytes for b in net.buffers()] == POSITIONS
        replica = DistributedDataParallel(net, **options)
        told[kind] = []
        for number in range(4):
            meet = kind != "accumulated" or number % 2 == 1

            def step(
                replica: nn.Module = replica,
                meet: bool = meet,
            ) -> None:
                with sync.sync_if(meet, replica=replica):
                    replica(ids).logits.sum().backward()

            told[kind].append(watch(step, buffers={512}))
            if meet:
                net.zero_grad()
    torch.save(told, out / f"{ranks.rank}.pt")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Sent]]:
    out = tmp_path_factory.mktemp("inside")
    dist.launch(tell, out, num_ranks=2, timeout_s=100)
    first, second = (torch.load(out / f"{rank}.pt") for rank in range(2))
    assert first == second
    return first


def test_the_first_step_sends_one_bucket_and_later_ones_what_the_cost_model_cuts(
    told: dict[str, list[Sent]],
) -> None:
    assert len(BUCKETS) == 3
    assert told["plain"] == [
        {"broadcast": POSITIONS, "all_reduce": ALL},
        {"broadcast": ORDER + POSITIONS, "all_reduce": BUCKETS},
        {"broadcast": POSITIONS, "all_reduce": BUCKETS},
        {"broadcast": POSITIONS, "all_reduce": BUCKETS},
    ]


def test_looking_for_unused_parameters_costs_an_all_reduce_and_the_rebuilding(
    told: dict[str, list[Sent]],
) -> None:
    """Negative control: with the flag the buckets are other ones, in every step."""
    for step in told["find_unused"]:
        assert step["broadcast"] == POSITIONS
        *buckets, used = step["all_reduce"]
        assert [used] == USED
        assert sum(buckets) == sum(ALL)
        assert buckets != BUCKETS
        assert len(buckets) == len(BUCKETS)


def test_a_static_graph_is_watched_for_one_step_and_rebuilt_after_the_second(
    told: dict[str, list[Sent]],
) -> None:
    assert told["static"] == [
        {"broadcast": POSITIONS, "all_reduce": USED + ALL},
        {"broadcast": POSITIONS, "all_reduce": ALL},
        {"broadcast": ORDER + POSITIONS, "all_reduce": BUCKETS},
        {"broadcast": POSITIONS, "all_reduce": BUCKETS},
    ]


def test_two_micro_batches_send_gradients_and_buffers_once(
    told: dict[str, list[Sent]],
) -> None:
    assert told["accumulated"] == [
        {"broadcast": POSITIONS, "all_reduce": []},
        {"broadcast": [], "all_reduce": ALL},
        {"broadcast": ORDER + POSITIONS, "all_reduce": []},
        {"broadcast": [], "all_reduce": BUCKETS},
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
    told = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert [whole for whole, _ in told] == [6, 4]
    # Negative control: a caller who cuts is seen to cut.
    assert [cut for _, cut in told] == [3, 2]
