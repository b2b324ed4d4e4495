"""Measure what length-balanced batches gain over shuffled ones, on this machine.

Promise: both variants train on the very same rows, once each, with the same model,
taking turns; so what differs is which rows meet in a batch, and nothing else.

Not here: the samplers (`distrinews.sharding`), the loss they lead to (chapter 05 with
`--batches`).

Letters used for shapes: N = rows, W = ranks.
Guide: understand/stragglers-and-length-balance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn
from tqdm import tqdm

from distrinews import dist, sharding, sync, training
from distrinews.bench import results, steps, timing
from distrinews.bench.timing import PhaseTimer
from distrinews.config.settings import BenchmarkSettings, DistributedSettings
from distrinews.dist import Ranks
from distrinews.metrics import throughput
from distrinews.training import corpus
from distrinews.training.corpus import Splits

__all__ = [
    "AVERAGING_METHODS",
    "build_samplers",
    "lines",
    "measure",
    "ratio_of",
    "run",
    "table",
]

VARIANTS = ("shuffled", "length")
AVERAGING_METHODS = ("torch_ddp", "fastest")


def build_samplers(
    splits: Splits, ranks: Ranks, *, settings: DistributedSettings
) -> dict[str, sharding.GlobalBatchSampler]:
    """Build both kinds of batches over the same rows.

    Args:
        splits: The rows; all of `train_rows`.
        ranks: Who this process is.
        settings: Global batch size, seed.

    Returns:
        "shuffled" and "length" -> the sampler.

    Raises:
        SettingsError: The batch does not divide by the ranks. The same on every rank.
    """
    return {
        variant: training.build_sampler(
            splits.train_lengths,
            ranks,
            settings=settings.model_copy(update={"batches": variant}),
        )
        for variant in VARIANTS
    }


def measure(
    samplers: Mapping[str, sharding.GlobalBatchSampler],
    splits: Splits,
    ranks: Ranks,
    *,
    settings: DistributedSettings,
    num_epochs: int = 1,
    averaging: str = "torch_ddp",
) -> dict[str, dict[str, Any]]:
    """Train whole epochs with either kind of batches and compare their pace.

    Collective: every rank must call it.

    Args:
        samplers: "shuffled" and "length" -> what deals the rows.
        splits: The rows.
        ranks: Who this process is.
        settings: Model and optimizer.
        num_epochs: How many epochs of each kind; their steps take turns.
        averaging: How gradients meet, with both kinds of batches: "torch_ddp", or
            "fastest", what `understand/faster-than-ddp` found.

    Returns:
        "shuffled" and "length" -> what `Throughput.summary` returns;
        `padding_share`, the part of what all ranks compute that is padding; and
        `rounds_per_s`, the samples per second of each epoch.
    """
    net = steps.build_net(splits, ranks, settings=settings)
    replica = _replicate(net, ranks, averaging=averaging)
    optimizer = training.build_optimizer(net, settings=settings)
    throughputs = {variant: throughput.Throughput(ranks) for variant in VARIANTS}
    rounds_per_s: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    padding_shares: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    num_steps = 2 * num_epochs * samplers["shuffled"].steps_per_epoch
    bar = tqdm(total=num_steps, desc="time both", disable=not ranks.is_main)

    def take_step(rows: list[int]) -> None:
        batch, timer = splits.batch(rows, device=ranks.device), PhaseTimer(ranks)
        steps.take_step(
            replica, batch, optimizer=optimizer, settings=settings, timer=timer
        )

    # Not timed: in the first steps memory is allocated and DDP orders its buckets.
    for rows in list(samplers["shuffled"])[:2]:
        take_step(rows)
    for epoch in range(num_epochs):
        plans = {}
        of_epoch = {variant: throughput.Throughput(ranks) for variant in VARIANTS}
        for variant, sampler in samplers.items():
            sampler.set_epoch(epoch)
            padding_shares[variant].append(_padding(sampler, splits.train_lengths))
            plans[variant] = list(sampler)
        # WHY step by step: a machine that slows down for a minute slows both variants
        # alike.
        for step, variant in timing.turns(VARIANTS, num_rounds=len(plans["shuffled"])):
            rows = plans[variant][step]
            with (
                throughputs[variant].step(num_rows=len(rows)),
                of_epoch[variant].step(num_rows=len(rows)),
            ):
                take_step(rows)
            bar.update()
        for variant in VARIANTS:
            rounds_per_s[variant].append(of_epoch[variant].summary()["samples_per_s"])
    bar.close()
    return {
        variant: throughputs[variant].summary()
        | {"padding_share": sum(padding_shares[variant]) / num_epochs}
        | {"rounds_per_s": rounds_per_s[variant]}
        for variant in VARIANTS
    }


def _replicate(net: nn.Module, ranks: Ranks, *, averaging: str) -> nn.Module:
    """Wrap the model so that gradients meet; alone there is nobody to meet."""
    if averaging == "torch_ddp" or ranks.world_size == 1:
        return sync.wrap_ddp(net, ranks)
    return sync.ddp_in_shared_memory(net)


def _padding(sampler: sharding.GlobalBatchSampler, lengths: np.ndarray) -> float:
    """Padding and waiting: every rank of a step takes as long as its widest batch."""
    return sharding.padding_share(lengths, [batch.tolist() for batch in sampler.plan()])


def table(result: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw the figures as a table that Markdown and a terminal both show.

    Args:
        result: Name of a combination -> its `averaging`, `rows_per_rank`, `batches`
            (what `measure` returned), `ratio` and `ratio_interval`.

    Returns:
        A row per combination.

    Examples:
        >>> epoch = {"samples_per_s": 20.0, "padding_share": 0.4}
        >>> row = {"averaging": "fastest", "rows_per_rank": 16, "ratio": 1.0}
        >>> row["batches"] = {"shuffled": epoch, "length": epoch}
        >>> table({"fastest_16": row}).splitlines()[2][:50]
        '| fastest        | 16            | 20.0     | 20.0'
    """
    head = "gradients meet,rows per rank,shuffled,balanced,ratio,padding,then"
    lines = [head.split(",")]
    for row in result.values():
        measured = [row["batches"][variant] for variant in VARIANTS]
        lines.append([
            row["averaging"].replace("torch_ddp", "by torch DDP"),
            str(row["rows_per_rank"]),
            *(f"{epoch['samples_per_s']:.1f}" for epoch in measured),
            ratio_of(row),
            *(f"{epoch['padding_share']:.0%}" for epoch in measured),
        ])
    return timing.draw_table(lines)


def lines(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw what one `measure` returned, a line for each kind of batches.

    Args:
        measured: What `measure` returned.

    Returns:
        Three lines; the last is the ratio.

    Examples:
        >>> row = {"padding_share": 0.4, "rounds_per_s": [20.0], "samples_per_s": 20.0}
        >>> fast = row | {"rounds_per_s": [30.0], "samples_per_s": 30.0}
        >>> print(lines({"shuffled": row, "length": fast}).splitlines()[2])
        balanced by length: 1.50x (1 round, no interval)
    """
    pairs = zip(*(measured[v]["rounds_per_s"] for v in VARIANTS), strict=True)
    ratio, interval = timing.median_and_interval([fast / slow for slow, fast in pairs])
    num_rounds = len(measured["length"]["rounds_per_s"])
    text = timing.ratio_text(ratio, interval, num_rounds=num_rounds)
    return "\n".join([
        *(
            f"{kind:9} {row['samples_per_s']:7.1f} samples/s, "
            f"{row['padding_share']:.0%} of the work is padding"
            for kind, row in measured.items()
        ),
        f"balanced by length: {text}",
    ])


def ratio_of(row: Mapping[str, Any]) -> str:
    """Put into words what balanced batches gain.

    Args:
        row: Of one combination, as for `table`.

    Returns:
        As `timing.ratio_text`, of samples per second; a round is an epoch of each kind.
    """
    # Files from before rounds were kept hold a single one.
    rounds = row["batches"]["shuffled"].get("rounds_per_s", [None])
    return timing.ratio_text(
        row["ratio"], row.get("ratio_interval"), num_rounds=len(rounds)
    )


def run(ranks: Ranks, settings: BenchmarkSettings) -> None:
    """Measure both averagings, at the settings' rows per rank and at twice as many.

    Collective: every rank must call it; it is what `dist.launch` runs.

    Args:
        ranks: Who this process is.
        settings: What to measure; `num_rounds` epochs of each kind.
    """
    with dist.raise_together():
        splits = corpus.load(settings)
    result = {}
    for factor in (1, 2):
        size = factor * settings.global_batch_size
        resized = settings.model_copy(update={"global_batch_size": size})
        for averaging in AVERAGING_METHODS:
            measured = measure(
                build_samplers(splits, ranks, settings=resized),
                splits,
                ranks,
                settings=resized,
                num_epochs=settings.num_rounds,
                averaging=averaging,
            )
            by_epoch = zip(
                *(measured[variant]["rounds_per_s"] for variant in VARIANTS),
                strict=True,
            )
            ratio, interval = timing.median_and_interval([
                fast / slow for slow, fast in by_epoch
            ])
            result[f"{averaging}_{size // ranks.world_size}"] = {
                "averaging": averaging,
                "rows_per_rank": size // ranks.world_size,
                "batches": measured,
                "ratio": ratio,
                "ratio_interval": interval,
            }
    results.print_and_save(
        settings, "balance", table(result), figures=result, ranks=ranks
    )
