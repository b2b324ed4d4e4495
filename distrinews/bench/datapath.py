"""Measure whether reading rows stays as cheap with a million rows as with few.

Promise: each size is prepared and read in a process of its own, from the first text to
the last batch, while a watch looks at its memory every few milliseconds; the time of a
row is that of all sizes taking turns in one process.

Not here: the data path itself (`distrinews.data.tokenised`, `distrinews.sharding`), looking at
memory (`distrinews.bench.memory`) and at the clock (`distrinews.bench.row_times`).

Letters used for shapes: N = rows.
Guide: benchmarks/data-path.
"""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import Field
from tqdm import tqdm

from distrinews import dist, training
from distrinews.bench import results, row_times, timing
from distrinews.bench.memory import watched
from distrinews.config.settings import BenchmarkSettings
from distrinews.data import tokenised
from distrinews.dist import Ranks
from distrinews.system import files
from distrinews.training import corpus
from distrinews.training.corpus import News

__all__ = [
    "DataPathSettings",
    "figures",
    "read_one_size",
    "run",
    "sizes",
    "table",
    "time_rows",
]

SMALLEST = 10_000


class DataPathSettings(BenchmarkSettings):
    """`BenchmarkSettings` for reading rows without a model.

    Examples:
        >>> DataPathSettings().largest_rows
        1000000
    """

    largest_rows: int = Field(
        1_000_000,
        ge=2 * SMALLEST,
        description=f"sizes grow tenfold from {SMALLEST:,} up to this one [rows]",
    )


def sizes(largest: int) -> list[int]:
    """Choose how many rows to measure with.

    Args:
        largest: The last size.

    Returns:
        10,000, 100,000, ... below `largest`, and `largest`.

    Examples:
        >>> sizes(1_000_000)
        [10000, 100000, 1000000]
        >>> sizes(50_000)
        [10000, 50000]
    """
    chosen, size = [], SMALLEST
    while size < largest:
        chosen.append(size)
        size *= 10
    return [*chosen, largest]


def read_one_size(
    ranks: Ranks,
    settings: DataPathSettings,
    out: pathlib.Path,
    prepare: Callable[[News], object] | None = None,
) -> None:
    """Prepare and read all rows once; write down what that took.

    Collective: every rank must call it; it is what `dist.launch` runs.

    Args:
        ranks: Who this process is.
        settings: How many rows.
        out: Where to write `num_rows`, `first_bytes`, `peak_bytes`, `prepare_s`,
            of the rank with the most.
        prepare: Something else to do with the rows before they are read; for proofs.
    """
    # What every run pays, whatever it reads, is there before the first look.
    _read(_load(settings, SMALLEST), ranks, settings=settings, num_batches=10)
    began_s = time.perf_counter()
    with watched(tokenised.cache_folder()) as seen:
        stories = _load(settings, settings.train_rows or SMALLEST)
        prepare_s = time.perf_counter() - began_s
        kept = prepare(stories) if prepare else None
        _read(stories, ranks, settings=settings)
    del kept
    first, peak = zip(*dist.gather_objects((seen[0], max(seen))), strict=True)
    told = {
        "num_rows": len(stories.train),
        "first_bytes": max(first),
        "peak_bytes": max(peak),
        "prepare_s": round(prepare_s, 1),
    }
    with dist.raise_together():
        if ranks.is_main:
            files.write_json(out, told)


def _load(settings: DataPathSettings, num_rows: int) -> News:
    few = {"train_rows": num_rows, "validation_rows": 1000, "test_rows": 1000}
    return corpus.load(settings.model_copy(update=few))


def _read(
    stories: News,
    ranks: Ranks,
    *,
    settings: DataPathSettings,
    num_batches: int | None = None,
) -> None:
    """Read an epoch, or its beginning, as chapter 05 does."""
    sampler = training.build_sampler(stories.fit_lengths, ranks, settings=settings)
    for number, rows in enumerate(sampler):
        if number == num_batches:
            break
        stories.fit_batch(rows, device=ranks.device)


def time_rows(ranks: Ranks, settings: DataPathSettings, out: pathlib.Path) -> None:
    """Time a row with every size, taking turns; write it down.

    Args:
        ranks: Who this process is; alone.
        settings: Which sizes, how many rounds.
        out: Where to write what `row_times.time_rows` returns.
    """
    by_size = {size: _load(settings, size) for size in sizes(settings.largest_rows)}
    told = row_times.time_rows(by_size, ranks, settings=settings)
    files.write_json(out, {str(size): times for size, times in told.items()})


def run(settings: DataPathSettings) -> None:
    """Measure, print, and write the record if one was asked for.

    Args:
        settings: What to measure.
    """
    chosen, memory = sizes(settings.largest_rows), []
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "told.json"
        for size in tqdm(chosen, desc="memory"):
            some = settings.model_copy(update={"train_rows": size})
            dist.launch(read_one_size, some, out, num_ranks=settings.num_ranks)
            memory.append(files.read_json(out))
        dist.launch(time_rows, settings, out, num_ranks=1)
        times = {int(size): row for size, row in files.read_json(out).items()}
    found = figures(memory, times)
    print(table(found))
    with dist.setup() as ranks:
        ranks = dataclasses.replace(ranks, world_size=settings.num_ranks)
        results.keep(settings, "data", figures=found, ranks=ranks)


def figures(
    memory: Sequence[Mapping[str, Any]],
    times_us: Mapping[int, Mapping[str, Sequence[float]]],
) -> dict[str, Any]:
    """Turn what was seen into what is printed and kept.

    Args:
        memory: For each size what `read_one_size` wrote.
        times_us: What `time_rows` wrote.

    Returns:
        `sizes`: for each its `num_rows`, `peak_bytes`, `grown_bytes`, `us_per_row` and
        its `spread`, and the other times of a row, `first_epoch_us_per_row`,
        `same_rows_us_per_row`, `one_by_one_us_per_row`; `memory_ratio`, `time_ratio`,
        `same_rows_ratio`, `one_by_one_ratio`, largest by smallest over all sizes.

    Examples:
        >>> one = {"num_rows": 10, "first_bytes": 5, "peak_bytes": 10, "prepare_s": 0.1}
        >>> two = one | {"num_rows": 20, "peak_bytes": 12}
        >>> kinds = ("epochs", "first_epoch", "same_rows", "one_by_one")
        >>> times = dict.fromkeys(kinds, [3.0])
        >>> figures([one, two], {10: times, 20: times})["memory_ratio"]
        1.2
    """
    rows = []
    for one, times in zip(memory, times_us.values(), strict=True):
        middle = {kind: round(statistics.median(us), 3) for kind, us in times.items()}
        rows.append(
            dict(one)
            | {
                "grown_bytes": one["peak_bytes"] - one["first_bytes"],
                "us_per_row": middle.pop("epochs"),
                "spread": timing.spread(times["epochs"]),
            }
            | {f"{kind}_us_per_row": us for kind, us in middle.items()}
        )
    return {
        "sizes": rows,
        "memory_ratio": _ratio(rows, "peak_bytes"),
        "time_ratio": _ratio(rows, "us_per_row"),
        "same_rows_ratio": _ratio(rows, "same_rows_us_per_row"),
        "one_by_one_ratio": _ratio(rows, "one_by_one_us_per_row"),
    }


def _ratio(rows: Sequence[Mapping[str, float]], name: str) -> float:
    found = [row[name] for row in rows]
    return round(max(found) / min(found), 4)


def table(found: Mapping[str, Any]) -> str:
    """Draw the figures as a table that Markdown and a terminal both show.

    Args:
        found: What `figures` returned.

    Returns:
        A row per size.
    """
    lines = [["rows", "memory at most", "grown by", "time per row", "spread"]]
    lines[0] += ["first epoch", "same rows again", "one by one"]
    for row in found["sizes"]:
        lines.append([
            f"{row['num_rows']:,}",
            f"{row['peak_bytes'] / 2**20:.0f} MiB",
            f"{row['grown_bytes'] / 2**20:.0f} MiB",
            f"{row['us_per_row']:.2f} us",
            f"{row['spread']:.0%}",
            f"{row['first_epoch_us_per_row']:.2f} us",
            f"{row['same_rows_us_per_row']:.2f} us",
            f"{row['one_by_one_us_per_row']:.2f} us",
        ])
    return timing.draw_table(lines)
