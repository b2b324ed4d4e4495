"""Proofs for training.runlog: what is logged stays, and each step is logged once."""

from __future__ import annotations

import json
import pathlib

import pytest
import torch

from distrinews.dist import Ranks
from distrinews.training.logs import RunLog

ALONE = Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))


def steps(log: RunLog) -> list[int]:
    lines = log.path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["step"] for line in lines]


def test_a_resumed_run_does_not_log_a_step_twice(tmp_path: pathlib.Path) -> None:
    first = RunLog(tmp_path, ALONE)
    for step in (10, 20, 30):
        first.write({"step": step, "loss": 1.0})
    before = first.path.read_text(encoding="utf-8").splitlines()
    # Killed after step 30, its newest checkpoint is of step 20.
    second = RunLog(tmp_path, ALONE)
    second.truncate_after(20)
    assert first.path.read_text(encoding="utf-8").splitlines() == before[:2]
    second.write({"step": 30, "loss": 1.0})
    assert steps(second) == [10, 20, 30]


def test_without_forgetting_the_step_would_stand_there_twice(
    tmp_path: pathlib.Path,
) -> None:
    """Negative control."""
    for log in (RunLog(tmp_path, ALONE), RunLog(tmp_path, ALONE)):
        log.write({"step": 30, "loss": 1.0})
    assert steps(log) == [30, 30]


@pytest.mark.parametrize("torn", ['{"step": 20, "lo', "", "[]", '{"loss": 1}'])
def test_a_line_that_a_kill_cut_off_is_dropped(
    tmp_path: pathlib.Path, torn: str
) -> None:
    log = RunLog(tmp_path, ALONE)
    log.write({"step": 10, "loss": 1.0})
    with log.path.open("a", encoding="utf-8") as file:
        file.write(torn)
    log.truncate_after(20)
    log.write({"step": 20, "loss": 1.0})
    assert steps(log) == [10, 20]


def test_a_run_without_a_log_has_nothing_to_forget(tmp_path: pathlib.Path) -> None:
    RunLog(tmp_path, ALONE).truncate_after(20)
    assert list(tmp_path.iterdir()) == []


def test_the_loss_curve_is_thinned_and_keeps_the_last_step(
    tmp_path: pathlib.Path,
) -> None:
    log = RunLog(tmp_path, ALONE)
    assert log.losses(max_points=4) == []
    for step in range(10, 110, 10):
        log.write({"step": step, "loss": step / 1000})
        log.write({"step": step, "validation": {"loss": 9.0}})  # of no training step
    with log.path.open("a", encoding="utf-8") as file:
        file.write('{"step": 20, "lo')
    # 10 points into at most 4: every third one, counted from the end.
    want = [(10, 0.01), (40, 0.04), (70, 0.07), (100, 0.1)]
    assert log.losses(max_points=4) == want
    assert len(log.losses(max_points=10)) == 10
