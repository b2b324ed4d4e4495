"""Proofs that a resumed run has the bits of an undisturbed one with three ranks, too.

The negative control of each is the same run without the discarded step.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import pathlib
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import checkpoint, dist, sync, training

NUM_STEPS = 6
ROWS_PER_RANK = 4


class Net(nn.Module):
    """What a resume can get wrong: an embedding, running averages, dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 24)
        self.first = nn.Linear(24, 48)
        self.norm = nn.BatchNorm1d(48)
        self.dropout = nn.Dropout(0.2)
        self.last = nn.Linear(48, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.norm(self.first(self.embedding(ids).mean(dim=1)))
        out: torch.Tensor = self.last(self.dropout(torch.relu(hidden)))
        return out


def micro_batch(step: int, part: int, rank: int) -> torch.Tensor:
    """Rows [4, 6] that depend on nothing but the place."""
    generator = torch.Generator().manual_seed(1000 * step + 10 * part + rank)
    return torch.randint(0, 40, (ROWS_PER_RANK, 6), generator=generator)


def begin(
    ranks: dist.Ranks, *, discards: bool, **options: Any
) -> tuple[DistributedDataParallel, checkpoint.TrainingState]:
    training.seed_weights(0)
    net = Net()
    training.seed_dropout(0, ranks=ranks)
    replica = DistributedDataParallel(net, **options)
    # A static graph is cut anew after its second step.
    for _ in range((1 + options.get("static_graph", False)) if discards else 0):
        with sync.discarded_step(net):
            replica(micro_batch(0, 0, 0)).sum().backward()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    return replica, checkpoint.TrainingState(net, optimizer, scheduler)


def take_steps(
    replica: DistributedDataParallel,
    state: checkpoint.TrainingState,
    ranks: dist.Ranks,
    *,
    steps: range,
    accumulation_steps: int,
) -> None:
    for step in steps:
        state.optimizer.zero_grad()
        for part in range(accumulation_steps):
            is_last = part == accumulation_steps - 1
            with sync.no_sync_unless(is_last, replica=replica):
                logits = replica(micro_batch(step, part, ranks.rank))
                (logits.square().mean() / accumulation_steps).backward()
        state.optimizer.step()
        assert state.scheduler is not None
        state.scheduler.step()


def gap_after_resume(
    ranks: dist.Ranks,
    folder: pathlib.Path,
    *,
    stop_at: int,
    discards: bool,
    accumulation_steps: int = 1,
    **options: Any,
) -> float:
    """Largest difference of any weight or buffer to the undisturbed run."""
    go_on = functools.partial(
        take_steps, ranks=ranks, accumulation_steps=accumulation_steps
    )
    replica, state = begin(ranks, discards=discards, **options)
    go_on(replica, state, steps=range(stop_at))
    checkpoint.save(folder, state, step=stop_at, best_step=stop_at)
    go_on(replica, state, steps=range(stop_at, NUM_STEPS))
    undisturbed = copy.deepcopy(state.model.state_dict())

    replica, state = begin(ranks, discards=discards, **options)
    assert checkpoint.restore(folder, state) == stop_at
    go_on(replica, state, steps=range(stop_at, NUM_STEPS))
    return max(
        float((tensor - undisturbed[name]).abs().max())
        for name, tensor in state.model.state_dict().items()
    )


CASES: dict[str, dict[str, Any]] = {
    "stopped after step 1": {"stop_at": 1},
    "stopped in the middle": {"stop_at": 4},
    "accumulation": {"stop_at": 3, "accumulation_steps": 2},
    "bucket views": {"stop_at": 3, "gradient_as_bucket_view": True},
    # 4 KiB: from one bucket in the first step to several.
    "several buckets": {"stop_at": 3, "bucket_cap_mb": 0.004},
    "static graph": {"stop_at": 3, "static_graph": True},
}


def write_gaps(ranks: dist.Ranks, out: pathlib.Path) -> None:
    gaps = {
        f"{name}, {'discards' if discards else 'plain'}": gap_after_resume(
            ranks, out / f"{name}-{discards}", discards=discards, **case
        )
        for name, case in CASES.items()
        for discards in (True, False)
    }
    every_rank = dist.gather_objects(gaps)
    if ranks.is_main:
        largest = {name: max(gap[name] for gap in every_rank) for name in gaps}
        (out / "gaps.json").write_text(json.dumps(largest), encoding="utf-8")


@pytest.mark.parametrize("num_ranks", [2, 3, 4])
def test_with_a_discarded_step_a_resumed_run_has_the_bits_of_the_undisturbed_one(
    num_ranks: int, tmp_path: pathlib.Path
) -> None:
    dist.launch(write_gaps, tmp_path, num_ranks=num_ranks, timeout_s=120)
    gaps = json.loads((tmp_path / "gaps.json").read_text(encoding="utf-8"))
    assert len(gaps) == 2 * len(CASES)
    for name in CASES:
        assert gaps[f"{name}, discards"] == 0.0
        # Negative control: three summands or more notice the other buckets.
        assert (gaps[f"{name}, plain"] > 0.0) == (num_ranks > 2), gaps


def test_a_discarded_step_takes_back_gradients_buffers_and_random_states() -> None:
    net = Net()
    before = copy.deepcopy(net.state_dict())
    random_state = torch.get_rng_state()
    with sync.discarded_step(net):
        net(micro_batch(0, 0, 0)).sum().backward()
        # Negative control: the block does change all three.
        assert net.last.weight.grad is not None
        assert int(net.norm.num_batches_tracked) == 1
        assert not torch.equal(torch.get_rng_state(), random_state)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_discarded_step_that_fails_puts_the_model_back() -> None:
    net = Net()
    random_state = torch.get_rng_state()
    with contextlib.suppress(ZeroDivisionError), sync.discarded_step(net):
        net(micro_batch(0, 0, 0)).sum().backward()
        raise ZeroDivisionError
    assert int(net.norm.num_batches_tracked) == 0
    assert torch.equal(torch.get_rng_state(), random_state)
    assert net.last.weight.grad is None
