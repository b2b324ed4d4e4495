"""Proofs for distrinews.training: steps, learning rates and seeds, counted by hand."""

from __future__ import annotations

import os
from typing import Literal

import pytest
import torch
from torch import nn
from torch.optim import SGD, AdamW

from distrinews import training
from distrinews.config.settings import DistributedSettings, TrainSettings
from distrinews.dist import Ranks
from distrinews.training import Plan


@pytest.mark.parametrize(
    ("num_rows", "batch", "epochs", "max_steps", "want"),
    [
        (100, 32, 2, None, Plan(3, 6, 6)),  # 100 = 3 * 32 + 4 left out
        (96, 32, 1, None, Plan(3, 3, 3)),
        (95, 32, 1, None, Plan(2, 2, 2)),
        (100, 32, 2, 5, Plan(3, 6, 5)),
        (100, 32, 2, 60, Plan(3, 6, 6)),
        (3686, 32, 1, None, Plan(115, 115, 115)),  # the question of chapter 01
    ],
)
def test_a_plan_counts_whole_global_batches(
    num_rows: int, batch: int, epochs: int, max_steps: int | None, want: Plan
) -> None:
    settings = DistributedSettings(
        global_batch_size=batch, epochs=epochs, max_steps=max_steps
    )
    assert training.plan(settings, num_rows=num_rows) == want


def test_a_run_pauses_where_an_epoch_ends_a_checkpoint_is_due_or_all_is_done() -> None:
    plan = Plan(steps_per_epoch=10, num_steps=30, last_step=25, save_every_steps=4)
    pauses, step = [], 0
    while step < plan.last_step:
        step = plan.next_pause(step)
        pauses.append(step)
    assert pauses == [4, 8, 10, 12, 16, 20, 24, 25]  # 20 is both, and comes once
    assert [s for s in pauses if plan.should_validate(s)] == [10, 20, 25]
    # Wherever a resumed run starts, its pauses are those of the undisturbed one.
    assert {plan.next_pause(step) for step in range(25)} == set(pauses)
    # Without --save-every-steps only epochs' ends and the last step are left.
    plain = Plan(10, 30, 25)
    assert [plain.next_pause(s) for s in (0, 9, 10, 20)] == [10, 10, 20, 25]


def test_only_chapter_05_has_a_flag_to_save_more_often() -> None:
    often = DistributedSettings(save_every_steps=3)
    assert training.plan(often, num_rows=320).save_every_steps == 3
    whole = training.plan(TrainSettings(epochs=2), num_rows=320)
    assert (whole.last_step, whole.save_every_steps) == (20, None)


@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("batches", ["length", "shuffled"])
@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_each_step_has_the_same_rows_whoever_computes_it(
    batches: Literal["length", "shuffled"], world_size: int, accumulation_steps: int
) -> None:
    lengths = [(7 * row) % 50 + 3 for row in range(200)]
    settings = DistributedSettings(
        batches=batches,
        accumulation_steps=accumulation_steps,
        global_batch_size=16,
        seed=5,
    )
    alone = DistributedSettings(batches=batches, global_batch_size=16, seed=5)

    def steps(chosen: DistributedSettings, rank: int, size: int) -> list[set[int]]:
        ranks = Ranks(rank, rank, size, torch.device("cpu"))
        sampler = training.build_sampler(lengths, ranks, settings=chosen)
        sampler.set_epoch(1)
        pending, size = list(sampler), chosen.accumulation_steps
        assert len(pending) % size == 0
        return [
            {row for rows in pending[start : start + size] for row in rows}
            for start in range(0, len(pending), size)
        ]

    want = steps(alone, 0, 1)
    assert len(want) == 12
    parts = [steps(settings, rank, world_size) for rank in range(world_size)]
    assert [set().union(*step) for step in zip(*parts, strict=True)] == want
    assert all(len(rows) == 16 / world_size for part in parts for rows in part)


def test_deterministic_mode_is_switched_on_for_torch_and_cublas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    assert not torch.are_deterministic_algorithms_enabled()
    try:
        training.be_deterministic()
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def rates(num_steps: int, *, warmup_fraction: float, peak: float = 1.0) -> list[float]:
    """The rate of each step, as the optimizer sees it."""
    settings = TrainSettings(warmup_fraction=warmup_fraction)
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=peak)
    plan = Plan(num_steps, num_steps, num_steps)
    scheduler = training.build_scheduler(optimizer, settings=settings, plan=plan)
    seen = []
    for _ in range(num_steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == 0, "after the last step nothing is left"
    return seen


def test_the_rate_rises_in_a_line_to_its_peak_and_falls_in_a_line_to_zero() -> None:
    # 10 steps, 0.4 of them warm-up: quarters up; then 6/6, 5/6, ... 1/6.
    up = [0.25, 0.5, 0.75, 1.0]
    down = [6 / 6, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    got = rates(10, warmup_fraction=0.4)
    assert got == pytest.approx(up + down, abs=1e-12)
    assert rates(10, warmup_fraction=0.4, peak=0.5) == pytest.approx(
        [rate / 2 for rate in up + down], abs=1e-12
    )


def test_without_warm_up_the_first_step_is_at_the_peak() -> None:
    assert rates(3, warmup_fraction=0) == pytest.approx([1, 1, 0.5])
    assert rates(1, warmup_fraction=0.1) == [1.0]
    # Negative control: with warm-up it is not.
    assert rates(10, warmup_fraction=0.4)[0] == 0.25


def test_the_rate_follows_the_whole_plan_also_when_stopped_early() -> None:
    settings = DistributedSettings(epochs=1, max_steps=2, warmup_fraction=0.5)
    plan = training.plan(settings, num_rows=32 * 8)
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    training.build_scheduler(optimizer, settings=settings, plan=plan)
    assert (plan.num_steps, plan.last_step) == (8, 2)
    assert optimizer.param_groups[0]["lr"] == 0.25  # 4 warm-up steps, not 1


def test_the_optimizer_is_the_one_that_was_asked_for() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[0].requires_grad_(False)
    adamw = training.build_optimizer(
        net, settings=TrainSettings(learning_rate=0.25, weight_decay=0.5)
    )
    assert isinstance(adamw, AdamW)
    assert (adamw.defaults["lr"], adamw.defaults["weight_decay"]) == (0.25, 0.5)
    [group] = adamw.param_groups
    assert group["params"] == list(net[1].parameters()), "frozen layers are not its"
    sgd = training.build_optimizer(net, settings=TrainSettings(optimizer="sgd"))
    assert isinstance(sgd, SGD)
    assert sgd.defaults["momentum"] == 0  # plain


def noise(seed: int, rank: int) -> tuple[float, ...]:
    ranks = Ranks(rank, local_rank=rank, world_size=64, device=torch.device("cpu"))
    training.seed_dropout(seed, ranks=ranks)
    return tuple(torch.rand(3).tolist())


def test_the_noise_differs_by_rank_and_by_seed_and_can_be_repeated() -> None:
    seen = {noise(seed, rank) for seed in range(5) for rank in range(64)}
    assert len(seen) == 5 * 64
    assert noise(4, 63) in seen
    # Negative control: seeds that are just added up meet again, (0, 1) and (1, 0).
    added = {seed + rank for seed in range(5) for rank in range(64)}
    assert len(added) < 5 * 64


def test_the_noise_is_not_the_one_that_the_weights_were_drawn_from() -> None:
    for seed in (0, 1):
        training.seed_weights(seed)
        weights = tuple(torch.rand(3).tolist())
        training.seed_weights(seed)
        assert tuple(torch.rand(3).tolist()) == weights
        assert noise(seed, 0) != weights


def test_the_largest_seed_works() -> None:
    assert noise(2**31 - 1, 63) != noise(2**31 - 1, 62)
