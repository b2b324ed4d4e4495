"""Proofs for distrinews.runs: what a run remembers, counts and decides."""

from __future__ import annotations

import json
import pathlib

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from distrinews import dist, runs
from distrinews.metrics import Tally
from distrinews.settings import DistributedSettings
from distrinews.training import Plan

ALONE = dist.Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))


def begin(folder: pathlib.Path) -> runs.Run:
    return runs.begin(DistributedSettings(runs_dir=str(folder)), ranks=ALONE)


def judged(run: runs.Run, accuracies: list[int], *, patience: int | None) -> list[bool]:
    """Judge epochs with so many of four rows right; say after which it stopped."""
    stopped = []
    for right in accuracies:
        tally = Tally()
        said = torch.tensor([0] * right + [1] * (4 - right))
        tally.add(nn.functional.one_hot(said, 4).float(), torch.zeros(4).long())
        run.state["step"] += 10
        run.judge(tally, patience=patience)
        stopped.append(run.stopped_early)
    return stopped


def test_a_run_stops_after_so_many_epochs_in_a_row_without_gain(
    tmp_path: pathlib.Path,
) -> None:
    run = begin(tmp_path)
    # 2, then no better, then better: the count starts again.
    assert judged(run, [2, 2, 3, 3, 1], patience=2) == [False] * 4 + [True]
    assert run.state["best_step"] == 30
    assert run.state["best_accuracy"] == 0.75


def test_without_patience_it_goes_on(tmp_path: pathlib.Path) -> None:
    """Negative control: it is the setting that stops it."""
    assert judged(begin(tmp_path), [2, 2, 2, 2], patience=None) == [False] * 4
    assert judged(begin(tmp_path), [2, 2], patience=1) == [False, True]


def test_the_logged_loss_is_the_mean_over_all_rows_of_the_step(
    tmp_path: pathlib.Path,
) -> None:
    run = begin(tmp_path)
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=0.5)
    scheduler = LambdaLR(optimizer, lambda step: 1.0)
    for _ in range(runs.LOG_EVERY_STEPS):
        run.count(torch.tensor(100.0), num_rows=5)
        run.count(torch.tensor(1.0), num_rows=3)
        run.end_step(scheduler)
    [line] = run.log.path.read_text(encoding="utf-8").splitlines()
    told = json.loads(line)
    assert told["loss"] == pytest.approx((100 * 5 + 1 * 3) / 8)  # not (100 + 1) / 2
    assert (told["step"], told["learning_rate"]) == (10, 0.5)


def test_the_work_handed_out_ends_at_the_next_pause(tmp_path: pathlib.Path) -> None:
    run = begin(tmp_path)
    plan = Plan(steps_per_epoch=10, num_steps=20, last_step=20, save_every_steps=4)
    run.state["step"] = 6
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=0.5)
    scheduler = LambdaLR(optimizer, lambda step: 1.0)
    seen = []
    for rows in run.steps([[number] for number in range(6, 20)], plan=plan):
        seen += rows
        run.end_step(scheduler)
    assert seen == [6, 7]
    assert run.step == 8
