"""Measure whether reading rows stays as cheap with a million rows as with few.

Memory: each size is prepared and read in a process of its own, from the first text to
the last batch, while a thread reads its memory every few milliseconds.

Time per row: all sizes take turns in one process, and each turn reads equally many
rows, so that noise meets all of them alike. Three times, because one alone would not
say where a growth comes from: whole epochs as chapter 05 reads them; the same few rows
again and again, which stay in the processor's cache, so that only work is left; and
epochs by a loop over rows.

Not here: the data path itself (`distrinews.data`, `distrinews.sharding`), reading
memory (`distrinews.bench.memory`).

Letters used for shapes: N = rows, B = rows of a batch, T = tokens of its longest row.
Guide: benchmarks/data-path.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from tqdm import tqdm

from distrinews import dist, training
from distrinews.bench import results, timing
from distrinews.bench.memory import sample_uss
from distrinews.config.settings import BenchmarkSettings
from distrinews.data import tokenised
from distrinews.data.token_table import TokenTable, to_device
from distrinews.dist import Ranks
from distrinews.system import files
from distrinews.training import corpus
from distrinews.training.corpus import Splits

__all__ = [
    "DataPathSettings",
    "collect_one_by_one",
    "figures",
    "measure_one_size",
    "run",
    "sizes",
    "table",
    "time_in_turn",
]

SMALLEST = 10_000
NUM_REREAD_BATCHES = 10
# The two other times are taken over this part of an epoch of the largest table.
EPOCH_DIVISOR = 10


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


def measure_one_size(
    ranks: Ranks,
    settings: DataPathSettings,
    out: pathlib.Path,
    prepare: Callable[[Splits], object] | None = None,
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
    _read_epoch(_load(settings, SMALLEST), ranks, settings=settings, num_batches=10)
    began_s = time.perf_counter()
    with sample_uss(tokenised.cache_folder()) as samples:
        splits = _load(settings, settings.train_rows or SMALLEST)
        prepare_s = time.perf_counter() - began_s
        kept = prepare(splits) if prepare else None
        _read_epoch(splits, ranks, settings=settings)
    del kept
    first, peak = zip(*dist.gather_objects((samples[0], max(samples))), strict=True)
    result = {
        "num_rows": len(splits.train),
        "first_bytes": max(first),
        "peak_bytes": max(peak),
        "prepare_s": round(prepare_s, 1),
    }
    with dist.raise_together():
        if ranks.is_main:
            files.write_json(out, result)


def _load(settings: DataPathSettings, num_rows: int) -> Splits:
    row_counts = {"train_rows": num_rows, "validation_rows": 1000, "test_rows": 1000}
    return corpus.load(settings.model_copy(update=row_counts))


def _read_epoch(
    splits: Splits,
    ranks: Ranks,
    *,
    settings: DataPathSettings,
    num_batches: int | None = None,
) -> None:
    """Read an epoch, or its beginning, as chapter 05 does."""
    sampler = training.build_sampler(splits.train_lengths, ranks, settings=settings)
    for number, rows in enumerate(sampler):
        if number == num_batches:
            break
        splits.batch(rows, device=ranks.device)


def _time_all_sizes(
    ranks: Ranks, settings: DataPathSettings, out: pathlib.Path
) -> None:
    """Write down what `time_in_turn` returns for every size; alone."""
    by_size = {size: _load(settings, size) for size in sizes(settings.largest_rows)}
    times_us = time_in_turn(by_size, ranks, settings=settings)
    files.write_json(out, {str(size): row for size, row in times_us.items()})


def time_in_turn(
    by_size: Mapping[int, Splits], ranks: Ranks, *, settings: BenchmarkSettings
) -> dict[int, dict[str, list[float]]]:
    """Time a row of each table, taking turns.

    Args:
        by_size: The tables, from small to large.
        ranks: Who this process is; alone.
        settings: Kind and size of batches, number of rounds.

    Returns:
        For each size microseconds of a row, one number a round: `epochs`, its share of
        planning them included; `same_rows`, without planning; `one_by_one`. And
        `first_epoch`, a single number: there each page of the file is looked at for
        the first time. `epochs` begins after it.
    """
    epochs, one_by_one, same_rows = {}, {}, {}
    times_us: dict[int, dict[str, list[float]]] = {}
    for size, splits in by_size.items():
        epochs[size] = _read_epochs(splits.batch, splits, ranks, settings)
        collect = functools.partial(collect_one_by_one, splits.train_subset)
        one_by_one[size] = _read_epochs(collect, splits, ranks, settings)
        same_rows[size] = _reread_batches(splits, ranks, settings)
        # Of the last one, the largest, as many rows as an epoch has make a turn.
        num_batches = len(splits.train_rows) // settings.global_batch_size
        num_rows = num_batches * settings.global_batch_size
        times_us[size] = {"first_epoch": [_us_per_row(epochs[size], num_rows)]}
    kinds = (
        ("epochs", epochs, num_rows),
        ("one_by_one", one_by_one, num_rows // EPOCH_DIVISOR),
        ("same_rows", same_rows, num_rows // EPOCH_DIVISOR),
    )
    pairs = list(itertools.product(kinds, by_size))
    planned = list(timing.turns(pairs, num_rounds=settings.num_rounds))
    for _, ((name, readers, rows_per_turn), size) in tqdm(planned, desc="time a row"):
        took_us = _us_per_row(readers[size], rows_per_turn)
        times_us[size].setdefault(name, []).append(took_us)
    return times_us


def collect_one_by_one(
    table: TokenTable, rows: Sequence[int] | np.ndarray, *, device: torch.device
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Collect rows into one padded batch, as one would write it down first.

    Args:
        table: Where they lie.
        rows: Row numbers [B].
        device: Where the model lives.

    Returns:
        As `TokenTable.batch`, which does the same without a loop.
    """
    chosen = np.asarray(rows)
    shape = (len(chosen), int(table.lengths[chosen].max()))
    input_ids = np.full(shape, table.pad_id, dtype=np.int64)  # [B, T]
    attention_mask = np.zeros_like(input_ids)
    for i, row in enumerate(chosen.tolist()):
        ids = table.ids(row)
        input_ids[i, : len(ids)] = ids
        attention_mask[i, : len(ids)] = 1
    inputs = {
        "input_ids": to_device(input_ids, device),
        "attention_mask": to_device(attention_mask, device),
    }
    return inputs, to_device(table.labels[chosen].astype(np.int64), device)


def _us_per_row(reader: Iterator[int], num_rows: int) -> float:
    began_s, num_read = time.perf_counter(), 0
    while num_read < num_rows:
        num_read += next(reader)
    return round(1e6 * (time.perf_counter() - began_s) / num_read, 3)


def _read_epochs(
    collect: Callable[..., object],
    splits: Splits,
    ranks: Ranks,
    settings: BenchmarkSettings,
) -> Iterator[int]:
    """Read epoch after epoch, a batch at a time, as chapter 05 does."""
    sampler = training.build_sampler(splits.train_lengths, ranks, settings=settings)
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        for rows in sampler:
            collect(rows, device=ranks.device)
            yield len(rows)


def _reread_batches(
    splits: Splits, ranks: Ranks, settings: BenchmarkSettings
) -> Iterator[int]:
    """Read the first few batches of an epoch forever."""
    sampler = training.build_sampler(splits.train_lengths, ranks, settings=settings)
    for rows in itertools.cycle(list(itertools.islice(sampler, NUM_REREAD_BATCHES))):
        splits.batch(rows, device=ranks.device)
        yield len(rows)


def figures(
    memory: Sequence[Mapping[str, Any]],
    times_us: Mapping[int, Mapping[str, Sequence[float]]],
) -> dict[str, Any]:
    """Turn what was seen into what is printed and kept.

    Args:
        memory: For each size what `measure_one_size` wrote.
        times_us: What `time_in_turn` returned.

    Returns:
        `sizes`: for each its `num_rows`, `peak_bytes`, `grown_bytes`, `us_per_row` and
        its `spread`, and the other times of a row, `first_epoch_us_per_row`,
        `same_rows_us_per_row`, `one_by_one_us_per_row`; `memory_ratio`, `time_ratio`,
        `same_rows_ratio`, `one_by_one_ratio`, largest by smallest over all sizes.

    Examples:
        >>> few = {"num_rows": 10, "first_bytes": 5, "peak_bytes": 10, "prepare_s": 0.1}
        >>> many = few | {"num_rows": 20, "peak_bytes": 12}
        >>> kinds = ("epochs", "first_epoch", "same_rows", "one_by_one")
        >>> times = dict.fromkeys(kinds, [3.0])
        >>> figures([few, many], {10: times, 20: times})["memory_ratio"]
        1.2
    """
    rows = []
    for row, times in zip(memory, times_us.values(), strict=True):
        medians = {kind: round(statistics.median(us), 3) for kind, us in times.items()}
        rows.append(
            dict(row)
            | {
                "grown_bytes": row["peak_bytes"] - row["first_bytes"],
                "us_per_row": medians.pop("epochs"),
                "spread": timing.spread(times["epochs"]),
            }
            | {f"{kind}_us_per_row": us for kind, us in medians.items()}
        )
    return {
        "sizes": rows,
        "memory_ratio": _ratio(rows, "peak_bytes"),
        "time_ratio": _ratio(rows, "us_per_row"),
        "same_rows_ratio": _ratio(rows, "same_rows_us_per_row"),
        "one_by_one_ratio": _ratio(rows, "one_by_one_us_per_row"),
    }


def _ratio(rows: Sequence[Mapping[str, float]], name: str) -> float:
    values = [row[name] for row in rows]
    return round(max(values) / min(values), 4)


def table(result: Mapping[str, Any]) -> str:
    """Draw the figures as a table that Markdown and a terminal both show.

    Args:
        result: What `figures` returned.

    Returns:
        A row per size.
    """
    lines = [["rows", "memory at most", "grown by", "time per row", "spread"]]
    lines[0] += ["first epoch", "same rows again", "one by one"]
    for row in result["sizes"]:
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


def run(settings: DataPathSettings) -> None:
    """Measure, print, and write the record if one was asked for.

    Args:
        settings: What to measure.
    """
    row_counts, memory = sizes(settings.largest_rows), []
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "measured.json"
        for size in tqdm(row_counts, desc="memory"):
            resized = settings.model_copy(update={"train_rows": size})
            dist.launch(measure_one_size, resized, out, num_ranks=settings.num_ranks)
            memory.append(files.read_json(out))
        dist.launch(_time_all_sizes, settings, out, num_ranks=1)
        times = {int(size): row for size, row in files.read_json(out).items()}
    result = figures(memory, times)
    print(table(result))
    with dist.setup() as ranks:
        ranks = dataclasses.replace(ranks, world_size=settings.num_ranks)
        results.save(settings, "data", figures=result, ranks=ranks)
