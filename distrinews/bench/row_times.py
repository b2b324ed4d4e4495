"""Time what a row costs, and find out what part of it grows with the number of rows.

Promise: tables of different sizes take turns in one process, and each turn reads
equally many rows, so that noise meets all of them alike.

Three times, because one alone would not say what a growth comes from: whole epochs as
chapter 05 reads them; the same few rows again and again, which the processor keeps at
hand, so that only work is left; and epochs by a loop over rows.

Not here: memory, and the command (`distrinews.bench.datapath`).

Letters used for shapes: B = rows of a batch, T = tokens of its longest row.
Guide: benchmarks/data-path.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from tqdm import tqdm

from distrinews import training
from distrinews.config.settings import BenchmarkSettings
from distrinews.data.tokenised import TokenTable
from distrinews.dist import Ranks
from distrinews.training.corpus import News

__all__ = ["collect_one_by_one", "time_rows"]

SAME_BATCHES = 10
# The two other times are taken over this part of an epoch of the largest table.
PART = 10


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
        "input_ids": torch.from_numpy(input_ids).to(device),
        "attention_mask": torch.from_numpy(attention_mask).to(device),
    }
    labels = torch.from_numpy(table.labels[chosen].astype(np.int64))
    return inputs, labels.to(device)


def time_rows(
    by_size: Mapping[int, News], ranks: Ranks, *, settings: BenchmarkSettings
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
    epochs, loops, same = {}, {}, {}
    told: dict[int, dict[str, list[float]]] = {}
    for size, stories in by_size.items():
        epochs[size] = _epochs(stories.fit_batch, stories, ranks, settings)
        by_row = functools.partial(collect_one_by_one, stories.fit)
        loops[size] = _epochs(by_row, stories, ranks, settings)
        same[size] = _again(stories, ranks, settings)
        # Of the last one, the largest, as many rows as an epoch has make a turn.
        whole = len(stories.fit_rows) // settings.global_batch_size
        num_rows = whole * settings.global_batch_size
        told[size] = {"first_epoch": [_us_per_row(epochs[size], num_rows)]}
    kinds = (
        ("epochs", epochs, num_rows),
        ("one_by_one", loops, num_rows // PART),
        ("same_rows", same, num_rows // PART),
    )
    for number in tqdm(range(settings.num_rounds), desc="time a row"):
        turns = list(by_size) if number % 2 == 0 else list(by_size)[::-1]
        for (name, readers, many), size in itertools.product(kinds, turns):
            took_us = _us_per_row(readers[size], many)
            told[size].setdefault(name, []).append(took_us)
    return told


def _us_per_row(reader: Iterator[int], num_rows: int) -> float:
    began_s, done = time.perf_counter(), 0
    while done < num_rows:
        done += next(reader)
    return round(1e6 * (time.perf_counter() - began_s) / done, 3)


def _epochs(
    collect: Callable[..., object],
    stories: News,
    ranks: Ranks,
    settings: BenchmarkSettings,
) -> Iterator[int]:
    """Read epoch after epoch, a batch at a time, as chapter 05 does."""
    sampler = training.build_sampler(stories.fit_lengths, ranks, settings=settings)
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        for rows in sampler:
            collect(rows, device=ranks.device)
            yield len(rows)


def _again(stories: News, ranks: Ranks, settings: BenchmarkSettings) -> Iterator[int]:
    """Read the first few batches of an epoch for ever."""
    sampler = training.build_sampler(stories.fit_lengths, ranks, settings=settings)
    for rows in itertools.cycle(list(itertools.islice(sampler, SAME_BATCHES))):
        stories.fit_batch(rows, device=ranks.device)
        yield len(rows)
