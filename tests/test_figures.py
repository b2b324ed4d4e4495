"""Proofs that the figures in our README are real: the promised time, memory, accuracy.

The quickstart is run among the slow proofs. What needs AG News takes eight minutes and
looks for `../shared/data/ag_news`, beside this repository: `.ci/endurance figures`. Its
commands are tried with few rows by tests/test_cli.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import pathlib
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from helpers import chapters
from helpers.chapters import CHAPTER_05, ROOT
from helpers.running import Program

AG_NEWS = ROOT.parent / "shared" / "data" / "ag_news"
NUM_OFFICIAL = 7600

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def needs_ag_news(test: Callable[..., None]) -> Callable[..., None]:
    missing = not (AG_NEWS / "test.csv").exists()
    skip = pytest.mark.skipif(missing, reason=f"no AG News in {AG_NEWS}")
    return pytest.mark.endurance(skip(test))


# WHY None: what a reader starts has none of our test settings.
AS_A_READER: dict[str, str | None] = {"OMP_NUM_THREADS": None, "HF_HUB_OFFLINE": None}


@dataclasses.dataclass(frozen=True)
class Measured:
    """A run and what it took."""

    done: chapters.Done
    peak_bytes: int


def resident_bytes(program: Program) -> int:
    """Resident memory of all processes together; what they share counts twice."""
    total = 0
    for process in program.processes():
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def measured(*words: object) -> Measured:
    peak, over = 0, threading.Event()
    began_s = time.monotonic()
    program, folder = chapters.start(*words, env=AS_A_READER)

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.2):
            peak = max(peak, resident_bytes(program))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        done = chapters.finish(program, folder, timeout_s=1200, began_s=began_s)
    finally:
        over.set()
        watcher.join()
    assert done.code == 0, str(done)
    return Measured(done, peak)


def tell(text: str) -> None:
    print(f"\n[figures] {text}", flush=True)


@functools.cache
def quickstart() -> Measured:
    """What the README says: no flags."""
    run = measured(CHAPTER_05)
    tell(
        f"quickstart: {run.done.seconds:.1f} s, {run.peak_bytes / 2**30:.2f} GiB, "
        f"accuracy {run.done.result['accuracy']:.4f} on newswire"
    )
    return run


@functools.cache
def evaluated(model: pathlib.Path, num_ranks: int, *more: str) -> dict[str, Any]:
    name = f"{model.name}-{num_ranks}-{'-'.join(more)}.json"
    file = chapters.workspace() / "figures" / name
    folder = chapters.workspace() / f"evaluate {name}"
    folder.mkdir()
    program = Program(
        (
            *(sys.executable, "-m", "distrinews", "evaluate", "--model", model),
            *("--data", AG_NEWS, "--num-ranks", num_ranks, "--json", file),
            *more,
        ),
        folder=folder,
        env=chapters.environment(**AS_A_READER),
    )
    done = chapters.finish(program, folder, timeout_s=1200)
    assert done.code == 0, str(done)
    assert done.left == []
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    tell(
        f"{name}: accuracy {figures['accuracy']:.4f} on {figures['rows']} rows of AG "
        f"News, {done.seconds:.0f} s"
    )
    return figures


def test_the_quickstart_takes_at_most_150_seconds_from_start_to_headlines() -> None:
    done = quickstart().done
    assert done.out.count(" <- ") == 3  # three headlines were classified
    assert done.left == []
    assert done.seconds <= 150
    assert done.result["seconds"]["total"] <= done.seconds + 0.5


def test_the_quickstart_takes_at_most_3_gib_over_all_its_processes() -> None:
    # The guard: we saw the starter and two ranks, each with torch in it.
    assert quickstart().peak_bytes > 600e6
    assert quickstart().peak_bytes <= 3 * 2**30


@needs_ag_news
def test_the_quickstarts_model_reaches_0_82_on_official_ag_news() -> None:
    figures = evaluated(quickstart().done.run_folder, 2)
    assert figures["rows"] == NUM_OFFICIAL
    assert figures["accuracy"] >= 0.82


@functools.cache
def trained_on_ag_news() -> pathlib.Path:
    words = ("--data", AG_NEWS, "--num-ranks", "2", "--train-rows", "5120")
    run = measured(CHAPTER_05, *words)
    tell(
        f"5,120 rows of AG News: {run.done.seconds:.1f} s, "
        f"{run.peak_bytes / 2**30:.2f} GiB, accuracy {run.done.result['accuracy']:.4f}"
    )
    return run.done.run_folder


@needs_ag_news
def test_5120_rows_of_ag_news_give_0_895_on_the_official_test_rows() -> None:
    folder = trained_on_ag_news()
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert result["train_rows"] == 5120
    assert result["test_rows"] == NUM_OFFICIAL
    assert result["accuracy"] >= 0.895


@needs_ag_news
@pytest.mark.parametrize("num_ranks", [1, 3, 5])
def test_any_number_of_ranks_counts_the_same_confusion_matrix(num_ranks: int) -> None:
    want = evaluated(quickstart().done.run_folder, 2)
    figures = evaluated(quickstart().done.run_folder, num_ranks)
    assert figures["rows"] == NUM_OFFICIAL == sum(map(sum, figures["confusion_matrix"]))
    assert figures["confusion_matrix"] == want["confusion_matrix"]


@needs_ag_news
def test_repairing_broken_characters_changes_accuracy_by_at_most_0_2_points() -> None:
    repaired = evaluated(trained_on_ag_news(), 2)
    raw = evaluated(trained_on_ag_news(), 2, "--raw")
    tell(f"repaired - raw: {100 * (repaired['accuracy'] - raw['accuracy']):+.2f} pt")
    assert repaired["loss"] != raw["loss"]  # the guard: texts did differ
    assert abs(repaired["accuracy"] - raw["accuracy"]) <= 0.002
