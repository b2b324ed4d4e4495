"""Proofs for distrinews.training.runs: what a run remembers, counts and decides."""

from __future__ import annotations

import io
import json
import os
import pathlib
import sys

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from distrinews import dist
from distrinews.config.settings import DistributedSettings
from distrinews.data.labels import LABEL_NAMES
from distrinews.metrics import ClassificationMetrics
from distrinews.training import Plan, runs

ALONE = dist.Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))


def begin(folder: pathlib.Path) -> runs.Run:
    return runs.begin(DistributedSettings(runs_dir=str(folder)), ranks=ALONE)


def stopped_after(
    run: runs.Run, accuracies: list[int], *, patience: int | None
) -> list[bool]:
    """Judge epochs with so many of four rows right; say after which it stopped."""
    stopped = []
    for right in accuracies:
        validation = ClassificationMetrics(LABEL_NAMES)
        predicted = torch.tensor([0] * right + [1] * (4 - right))
        validation.update(
            nn.functional.one_hot(predicted, 4).float(), torch.zeros(4).long()
        )
        run.progress["step"] += 10
        run.log_validation(validation, patience=patience)
        stopped.append(run.stopped_early)
    return stopped


def test_a_run_stops_after_so_many_epochs_in_a_row_without_gain(
    tmp_path: pathlib.Path,
) -> None:
    run = begin(tmp_path)
    # 2, then no better, then better: the count starts again.
    assert stopped_after(run, [2, 2, 3, 3, 1], patience=2) == [False] * 4 + [True]
    assert run.progress["best_step"] == 30
    assert run.progress["best_accuracy"] == 0.75


def test_without_patience_it_goes_on(tmp_path: pathlib.Path) -> None:
    """Negative control: it is the setting that stops it."""
    assert stopped_after(begin(tmp_path), [2, 2, 2, 2], patience=None) == [False] * 4
    assert stopped_after(begin(tmp_path), [2, 2], patience=1) == [False, True]


def test_the_logged_loss_is_the_mean_over_all_rows_of_the_step(
    tmp_path: pathlib.Path,
) -> None:
    run = begin(tmp_path)
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=0.5)
    scheduler = LambdaLR(optimizer, lambda step: 1.0)
    for _ in range(runs.LOG_EVERY_STEPS):
        run.log_loss(torch.tensor(100.0), num_rows=5)
        run.log_loss(torch.tensor(1.0), num_rows=3)
        run.end_step(scheduler)
    [line] = run.log.path.read_text(encoding="utf-8").splitlines()
    record = json.loads(line)
    assert record["loss"] == pytest.approx((100 * 5 + 1 * 3) / 8)  # not (100 + 1) / 2
    assert (record["step"], record["learning_rate"]) == (10, 0.5)


def test_the_work_handed_out_ends_at_the_next_pause(tmp_path: pathlib.Path) -> None:
    run = begin(tmp_path)
    plan = Plan(steps_per_epoch=10, num_steps=20, last_step=20, save_every_steps=4)
    run.progress["step"] = 6
    optimizer = SGD(nn.Linear(1, 1).parameters(), lr=0.5)
    scheduler = LambdaLR(optimizer, lambda step: 1.0)
    seen = []
    pause = plan.next_pause(run.step)
    for number in run.progress_bar(range(run.step, pause), total=plan.last_step):
        seen.append(number)
        run.end_step(scheduler)
    assert seen == [6, 7]
    assert run.step == 8


def on_screen(written: str) -> list[str]:
    """What a terminal shows: after a carriage return a line is written over."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


def print_during_training(folder: pathlib.Path) -> None:
    """Say something while the bar of a run stands at the fourth of its eight steps."""
    run = begin(folder)
    scheduler = LambdaLR(SGD(nn.Linear(1, 1).parameters(), lr=0.5), lambda step: 1.0)
    for number in run.progress_bar(range(8), total=8):
        run.end_step(scheduler)
        if number == 3:
            run.print_main("half of it is done")


def print_in_a_terminal(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
    termios = pytest.importorskip("termios")
    reader, writer = pty.openpty()
    termios.tcsetwinsize(writer, (24, 100))  # else it has no room
    with monkeypatch.context() as patch, open(writer, "w", encoding="utf-8") as screen:
        patch.setattr(sys, "stdout", screen)
        patch.setattr(sys, "stderr", screen)
        print_during_training(folder)
        print("the end", file=screen, flush=True)
        written = b""
        # WHY until then: a terminal hands over what it has, in pieces.
        while b"the end" not in written:
            written += os.read(reader, 4096)
    os.close(reader)
    return on_screen(written.decode())


def test_in_a_terminal_what_a_run_says_stands_on_a_line_of_its_own(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = print_in_a_terminal(tmp_path, monkeypatch)
    assert "half of it is done" in lines
    [bar] = [line for line in lines if "train:" in line]  # erased above, drawn below
    assert lines.index(bar) > lines.index("half of it is done")


def test_a_plain_print_lands_on_the_line_of_the_bar(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: the proof above would see it."""
    monkeypatch.setattr(
        runs.Run, "print_main", lambda run, text: print(text, flush=True)
    )
    lines = print_in_a_terminal(tmp_path, monkeypatch)
    assert "half of it is done" not in lines
    [line] = [line for line in lines if "half of it is done" in line]
    assert line.startswith("train:")


def test_in_a_file_the_bar_does_not_make_way(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    print_during_training(tmp_path)
    assert out.getvalue() == "half of it is done\n"
    # To make way a bar writes a line of spaces over itself; nothing else does.
    assert not [part for part in err.getvalue().split("\r") if part and part.isspace()]
