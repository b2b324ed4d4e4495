"""Train the same rows with chapter 05 and other libraries, each as a user starts it.

Every contender is a program of its own: chapter 05 as it stands, and the documented
loop of each library in its best setting (`distrinews.bench.peer_loops`). Each starts
with fewer rows and with more; what the rows between take, by the clock on the wall, is
its speed. So start, imports and the fixed work around the training cancel out, and
nothing is cut away that a user would wait for.

Promise: same weights, same rows, same recipe; programs take turns, there and back,
so that a machine that grows warm slows all of them alike; each round has another seed,
and a ratio is taken within a round.

Not here: the program that runs a library's loop (`distrinews.bench.peer_program`),
tables (`distrinews.bench.peer_report`).

Letters used for shapes: W = ranks, G = rows per global batch.
Guide: benchmarks/peers.
"""

from __future__ import annotations

import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from pydantic import Field, model_validator
from pydantic_settings import CliImplicitFlag
from tqdm import tqdm

from distrinews import dist, training
from distrinews.bench import peer_loops, peer_program, peer_report, results, timing
from distrinews.config.settings import BenchmarkSettings, DistributedSettings
from distrinews.errors import ResultError, SettingsError, SetupError
from distrinews.system import checkout, files, gpus
from distrinews.training import corpus

__all__ = ["CONTENDERS", "PeerSettings", "check", "flags", "measure", "run"]

PACKAGES = ("accelerate", "datasets", "lightning_fabric")
# Name -> flags of chapter 05, for contenders that are the chapter.
OURS: dict[str, tuple[str, ...]] = {
    "ours": (),
    "ours_shared": ("--averaging", "shared"),
}
# The chapter with less and less of what makes it fast: what each part brings.
PARTS: dict[str, tuple[str, ...]] = {
    "whole_layer": (),
    "whole_layer_shuffled": ("--batches", "shuffled"),
}
CONTENDERS = (*OURS, *peer_loops.LOOPS)
# Fields that say which run it is, not what it does.
RUN_FIELDS = {"run_name", "runs_dir", "resume"}
# What a start costs, in rows, for the estimate of the time that is left.
START_ROWS = 400
QUICK = {
    "num_rounds": 1,
    "train_rows": 427,
    "fewer_train_rows": 139,
    "validation_rows": 43,
    "test_rows": 200,
}


class PeerSettings(BenchmarkSettings):
    """`BenchmarkSettings` for whole programs instead of steps.

    Examples:
        >>> PeerSettings().train_rows, PeerSettings(quick=True).num_rounds
        (1203, 1)
    """

    quick: CliImplicitFlag[bool] = Field(
        False,
        description="one round over few rows, without the parts: some minutes in place "
        "of an hour, and no interval",
    )
    num_rounds: int = Field(
        timing.FEWEST_ROUNDS,
        gt=0,
        le=100,
        description="times that each runs with fewer and with more rows, with another "
        "seed each time [rounds]",
    )
    fewer_train_rows: int = Field(
        363, gt=0, description="train_rows of each round's shorter run [rows]"
    )
    validation_rows: int | None = Field(
        203, gt=0, description="rows that each counts by its own evaluation [rows]"
    )

    @model_validator(mode="before")
    @classmethod
    def _few_rows(cls, values: Any) -> Any:
        # WHY 203: no number of ranks but 7 and 29 divides it, so that padding shows.
        if isinstance(values, dict):
            defaults = {"train_rows": 1203, "test_rows": 500}
            defaults |= QUICK if values.get("quick") else {}
            for name, rows in defaults.items():
                if values.get(name) is None:
                    values[name] = rows
        return values


def check(settings: PeerSettings) -> None:
    """Refuse what cannot be compared, before any process starts.

    Args:
        settings: What was asked for.

    Raises:
        SetupError: Other libraries are not installed (it names them all), or chapter 05
            is not here.
        SettingsError: There are too few rows to time.

    Examples:
        >>> from unittest import mock
        >>> with mock.patch(f"{__name__}.PACKAGES", ("os", "no_such_library")):
        ...     check(PeerSettings())
        Traceback (most recent call last):
        ...
        distrinews.errors.SetupError: not installed: no-such-library.
          why:  this library is compared with these packages.
          fix:  pip install -c constraints.txt -e ".[bench]"
          more: troubleshooting/#benchmark-peers
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise SetupError(
            f"not installed: {', '.join(missing).replace('_', '-')}.",
            why="this library is compared with these packages.",
            fix='pip install -c constraints.txt -e ".[bench]"',
            page="benchmark-peers",
        )
    checkout.find(peer_program.CHAPTER)
    held_out, size = settings.validation_rows or 0, settings.global_batch_size
    fewer, more = settings.fewer_train_rows, settings.train_rows or 0
    if fewer < held_out + size or more < fewer + size:
        raise SettingsError(
            f"--fewer-train-rows {fewer} and --train-rows {more} are too few to time: "
            f"{held_out} are set aside for validation, and each step takes {size}.",
            why="the speed is computed from the rows between the two, in whole steps.",
            fix=f"--fewer-train-rows {held_out + 4 * size} --train-rows "
            f"{max(fewer, held_out + 4 * size) + 10 * size}",
            page="benchmark-peers",
        )


def flags(settings: DistributedSettings) -> list[str]:
    """Write a recipe as flags of chapter 05.

    Args:
        settings: The recipe. Which run it is, and where, is left out.

    Returns:
        Words of a command line, without those that say the default.

    Examples:
        >>> flags(DistributedSettings(train_rows=99, seed=3, deterministic=True))
        ['--train-rows', '99', '--seed', '3', '--deterministic']
    """
    defaults = DistributedSettings.model_validate({})
    words: list[str] = []
    for name in DistributedSettings.model_fields:
        value = getattr(settings, name)
        if name not in RUN_FIELDS and value != getattr(defaults, name):
            flag = f"--{name.replace('_', '-')}"
            words += [flag] if value is True else [flag, str(value)]
    return words


def measure(
    settings: PeerSettings, *, names: Sequence[str], on_run: Callable[[int], object]
) -> dict[str, dict[str, Any]]:
    """Start the contenders in turn, each with fewer rows and with more.

    Args:
        settings: The recipe, and how many rounds.
        names: In `CONTENDERS` or `PARTS`.
        on_run: Called with the rows of each program that ended, such as to move a bar.

    Returns:
        Name -> what `peer_report.summarise` returns, and `code_lines`.

    Raises:
        SetupError: A program failed. Says which, and what it said.
        ResultError: More rows took no longer than fewer.
    """
    rounds_by_name: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    seed = None
    for number, name in timing.turns(names, num_rounds=settings.num_rounds):
        if seed != settings.seed + number:
            seed = settings.seed + number
            recipes = [
                settings.model_copy(update={"seed": seed, "train_rows": rows})
                for rows in (settings.fewer_train_rows, settings.train_rows)
            ]
            # WHY here: who came first would tokenise the rows for all that follow.
            fewer, more = (corpus.load(recipe) for recipe in recipes)
        size = settings.global_batch_size
        num_steps = len(more.train_rows) // size - len(fewer.train_rows) // size
        reports = []
        for recipe in recipes:
            reports.append(_run_program(name, recipe))
            on_run(recipe.train_rows or 0)
        if name not in peer_loops.LOOPS:
            reports[1] |= _what_samplers_read(name, recipes[1], more)
        one_round = _one_round(name, reports, num_rows=num_steps * size)
        rounds_by_name[name].append(one_round)
    return {
        name: peer_report.summarise(rounds) | {"code_lines": _code_lines(name)}
        for name, rounds in rounds_by_name.items()
    }


def _one_round(
    name: str, reports: Sequence[dict[str, Any]], *, num_rows: int
) -> dict[str, Any]:
    """Take the speed from the two runs of a round, all else from the longer one."""
    wall_s = [report.pop("wall_s") for report in reports]
    seconds = wall_s[1] - wall_s[0]
    if seconds <= 0:
        raise ResultError(
            f"{name}: {num_rows} rows more took no longer ({wall_s[1]:.1f} s after "
            f"{wall_s[0]:.1f} s).",
            why="the difference is the measurement, and there is none.",
            fix="give a larger --train-rows, on a machine that does nothing else.",
            page="benchmark-peers",
        )
    shares = peer_report.reading_shares(
        reports[1].pop("batch_places"), num_tokens=reports[1].pop("num_tokens")
    )
    speed = {"samples_per_s": num_rows / seconds, "wall_s": wall_s}
    return reports[1] | shares | speed


def _run_program(name: str, recipe: PeerSettings) -> dict[str, Any]:
    """Start a contender, wait, read its report; `wall_s` is how long it took."""
    with tempfile.TemporaryDirectory(prefix="distrinews-peers-") as folder:
        report = pathlib.Path(folder) / "report.json"
        words = [sys.executable, str(checkout.find(peer_program.CHAPTER))]
        if name not in OURS:
            loop = name if name in peer_loops.LOOPS else peer_program.WHOLE_LAYER
            words = [sys.executable, "-m", "distrinews.bench.peer_program"]
            words += ["--loop", loop, "--report", str(report)]
        words += [*flags(recipe), *OURS.get(name, PARTS.get(name, ()))]
        words += ["--run-name", "peer", "--runs-dir", folder]
        began_s = time.perf_counter()
        done = subprocess.run(
            words, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        wall_s = time.perf_counter() - began_s
        if done.returncode:
            raise SetupError(
                f"{name} ended with exit code {done.returncode}: {done.stderr[-2000:]}",
                why="a comparison needs all of them.",
                fix=f"run it alone: {' '.join(words[1:])}",
                page="benchmark-peers",
            )
        if report.exists():
            return {**files.read_json(report), "wall_s": wall_s}
        result = files.read_json(pathlib.Path(folder) / "peer" / "result.json")
        return {
            "wall_s": wall_s,
            "loss": result["loss"],
            "accuracy": result["accuracy"],
            "evaluated_rows": result["validation_rows"],
        }


def _what_samplers_read(
    name: str, recipe: PeerSettings, splits: corpus.Splits
) -> dict[str, Any]:
    """What chapter 05 reads, from the samplers that its ranks build."""
    if "shuffled" in PARTS.get(name, ()):
        recipe = recipe.model_copy(update={"batches": "shuffled"})
    lengths, num_ranks = splits.train_lengths, recipe.num_ranks
    rows_read: Counter[int] = Counter()
    places: list[list[int]] = []
    for rank in range(num_ranks):
        ranks = dist.Ranks(rank, rank, num_ranks, torch.device("cpu"))
        sampler = training.build_sampler(lengths, ranks, settings=recipe)
        batches = []
        for epoch in range(recipe.epochs):
            sampler.set_epoch(epoch)
            batches += list(sampler)
        rows_read.update(row for batch in batches for row in batch)
        places.append([len(rows) * int(lengths[rows].max()) for rows in batches])
    return {
        "batch_places": places,
        "num_tokens": sum(int(lengths[row]) * n for row, n in rows_read.items()),
        "each_row_once": set(rows_read.values()) == {recipe.epochs},
    }


def _code_lines(name: str) -> int:
    """Lines of the function that trains: a library's loop, or the chapter's."""
    if name in peer_loops.LOOPS:
        return peer_report.code_lines(peer_loops.LOOPS[name])
    return peer_report.code_lines(checkout.load(peer_program.CHAPTER).train)


def run(settings: PeerSettings) -> None:
    """Measure, print, and write the record if one was asked for.

    Args:
        settings: What to measure.
    """
    names = CONTENDERS if settings.quick else (*CONTENDERS, *PARTS)
    rows = (settings.fewer_train_rows, settings.train_rows or 0)
    total = settings.num_rounds * len(names) * (sum(rows) + 2 * START_ROWS)
    with tqdm(total=total, desc="programs", unit="row", unit_scale=True) as bar:
        result = measure(
            settings,
            names=names,
            on_run=lambda num_rows: bar.update(num_rows + START_ROWS),
        )
    held_out = settings.validation_rows or 0
    texts = (peer_report.table(result, num_rows=held_out), peer_report.parts(result))
    print("\n\n".join(filter(None, texts)))
    device = torch.device("cuda" if gpus.usable() else "cpu")
    ranks = dist.Ranks(0, 0, settings.num_ranks, device)
    results.save(settings, "peers", figures=result, ranks=ranks)
