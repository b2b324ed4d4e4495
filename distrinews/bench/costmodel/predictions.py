"""Predict training on hardware that we did not measure, and name the sources.

Promise: every number is the cost model's, labelled as predicted; every figure that it
is made of names its source.

Not here: the model (`distrinews.bench.costmodel.step_model`), its fit and its error
(`distrinews.bench.costmodel.calibration`), the figures
(`distrinews.bench.costmodel.published`), more than two GPUs
(`distrinews.bench.costmodel.many_ranks`).

Letters used for shapes: W = number of ranks, B = rows per rank, T = tokens per row.
Guide: benchmarks/cost-model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distrinews.bench.costmodel import published, step_model
from distrinews.bench.costmodel.calibration import DEFAULT_BUCKET_MIB, ddp_buckets
from distrinews.bench.costmodel.published import Figure
from distrinews.bench.costmodel.step_model import Compute, Link, Prediction
from distrinews.model import sizes

__all__ = [
    "BandwidthPrediction",
    "at_bandwidth",
    "gpu_compute",
    "low_high_combinations",
    "interval",
    "step",
    "two_t4",
]

# One message between two machines, with everything that a collective library adds.
# WHY a round number: at 25 Gbit/s it is the time of 0.15 MB, and gradients are a
# hundred times that. It decides nothing unless there are many ranks.
MESSAGE_S = 50e-6


@dataclass(frozen=True)
class BandwidthPrediction:
    """A predicted step.

    Attributes:
        step_ms: All of it.
        exposed_ms: The part in which gradients travel and no rank computes.
        speedup: Against `alone_ms`; None without it.
    """

    step_ms: float
    exposed_ms: float
    speedup: float | None


def at_bandwidth(
    phases_ms: Mapping[str, float],
    *,
    gradient_bytes: Sequence[int],
    world_size: int,
    gbit_per_s: float,
    alone_ms: float | None = None,
) -> BandwidthPrediction:
    """Predict a step for ranks connected by a network of this many Gbit/s.

    Computing stays as fast as it was measured; only the way of the gradients changes:
    a ring all-reduce in DDP's buckets. It is assumed to take no time from computing.

    Args:
        phases_ms: One rank's "forward", "backward" and "optimizer", without
            communication, as `timing.summarise` and `scaling.figures` name them.
        gradient_bytes: Of each parameter, in the order of the forward:
            `[p.nbytes for p in net.parameters()]`. The first is taken for the word
            embedding, whose gradient costs no time of backward.
        world_size: W.
        gbit_per_s: Of each rank's connection, in each direction.
        alone_ms: One process's step with the same rows, for the speed-up.

    Returns:
        The step, to be shown as predicted.

    Examples:
        >>> prediction = at_bandwidth(
        ...     {"forward": 20.0, "backward": 40.0, "optimizer": 5.0},
        ...     gradient_bytes=[50_000_000, 40_000_000],
        ...     world_size=2, gbit_per_s=25.0, alone_ms=130.0,
        ... )
        >>> round(prediction.exposed_ms, 1), round(prediction.step_ms, 1)
        (29.0, 94.0)
        >>> round(prediction.speedup, 2)
        1.38
    """
    link = Link(MESSAGE_S, gbit_per_s * 1e9 / 8)
    both_s = (phases_ms["forward"] + phases_ms["backward"]) / 1000
    compute = Compute(
        fixed_s=both_s,
        per_token_s=0.0,
        per_pair_s=0.0,
        backward_share=phases_ms["backward"] / 1000 / both_s if both_s else 0.0,
        optimizer_s=phases_ms["optimizer"] / 1000,
    )
    # WHY not for a single one: it would be all of the work, and cost nothing.
    work = [0, *gradient_bytes[1:]] if len(gradient_bytes) > 1 else None
    prediction = step_model.predict(
        compute,
        link,
        buckets=step_model.buckets_of(gradient_bytes, work=work),
        world_size=world_size,
        rows=0,
        tokens=0,
    )
    step_ms = 1000 * prediction.step_s
    speedup = None if alone_ms is None else alone_ms / step_ms
    return BandwidthPrediction(step_ms, 1000 * prediction.exposed_s, speedup)


def gpu_compute(model: str, tokens: float, figures: Mapping[str, float]) -> Compute:
    """Say how fast a GPU computes a model, from the figures of its hardware.

    Args:
        model: In `sizes.SIZES`.
        tokens: T; attention's part of the arithmetic grows with it.
        figures: Name -> value, of the names in `published.T4_PAIR`.

    Returns:
        The speed. AdamW and clipping move 40 bytes a weight: reading gradient (three
        times), weight and two moments, writing gradient, weight and both.

    Examples:
        >>> chosen = {"tflops": 4.0, "part": 1.0, "fixed_s": 0.0,
        ...           "backward_share": 0.65, "memory_gb_per_s": 320.0}
        >>> compute = gpu_compute("distilbert", 64, chosen)
        >>> round(1000 * compute.forward_backward_s(32, 64))
        114
        >>> round(1000 * compute.optimizer_s, 1)
        8.4
    """
    size = sizes.SIZES[model]
    flops_per_s = figures["tflops"] * 1e12 * figures["part"]
    weights = sum(sizes.gradient_bytes(model)) / 4
    return Compute(
        fixed_s=figures["fixed_s"],
        per_token_s=size.step_flops(round(tokens)) / flops_per_s,
        per_pair_s=0.0,  # is in the line above
        backward_share=figures["backward_share"],
        optimizer_s=40 * weights / (figures["memory_gb_per_s"] * 1e9),
    )


def step(
    model: str,
    figures: Mapping[str, float],
    *,
    world_size: int,
    rows: int,
    tokens: float,
    trees: bool = False,
) -> Prediction:
    """Predict a step on hardware with exactly these figures.

    Args:
        model: In `sizes.SIZES`.
        figures: As `gpu_compute` takes them, and "message_s", "link_gb_per_s",
            "contention".
        world_size: W.
        rows: B.
        tokens: T of the rank that has most to do.
        trees: As `step_model.predict`.

    Returns:
        The step in its parts.
    """
    link = Link(
        figures["message_s"], figures["link_gb_per_s"] * 1e9, figures["contention"]
    )
    return step_model.predict(
        gpu_compute(model, tokens, figures),
        link,
        buckets=ddp_buckets(model, DEFAULT_BUCKET_MIB),
        world_size=world_size,
        rows=rows,
        tokens=tokens,
        trees=trees,
    )


def low_high_combinations(figures: Mapping[str, Figure]) -> Iterator[dict[str, float]]:
    """Go through every combination of low and high values.

    Why: what follows need not grow with each figure (a faster GPU gives a smaller
    speed-up), so any combination may give its extremes.

    Args:
        figures: Name -> interval.

    Yields:
        Name -> value; 2 to the power of the number of figures.

    Examples:
        >>> len(list(low_high_combinations(published.T4_PAIR)))
        256
    """
    for values in itertools.product(
        *((figure.low, figure.high) for figure in figures.values())
    ):
        yield dict(zip(figures, values, strict=True))


def interval(values: Sequence[float], *, digits: int = 1) -> list[float]:
    """Turn the results for all combinations into [low, high].

    Args:
        values: One per combination.
        digits: To round to.

    Returns:
        The least and the greatest.

    Examples:
        >>> interval([2.0, 1.04, 1.5])
        [1.0, 2.0]
    """
    return [round(min(values), digits), round(max(values), digits)]


def two_t4(model: str, *, rows: int, tokens: float) -> dict[str, Any]:
    """Predict one and two T4 over PCIe, in float32.

    Args:
        model: In `sizes.SIZES`.
        rows: Of the global batch, over both GPUs; even.
        tokens: T.

    Returns:
        "one", "two" (same rows per step) and "two_weak" (same rows per GPU): `step_ms`,
        `samples_per_s`, `exposed_ms`, `speedup`, each as [low, high].
    """
    cases = {"one": (1, rows), "two": (2, rows // 2), "two_weak": (2, rows)}
    result: dict[str, dict[str, list[float]]] = {}
    for chosen in low_high_combinations(published.T4_PAIR):
        alone = 0.0
        for name, (world_size, per_rank) in cases.items():
            prediction = step(
                model, chosen, world_size=world_size, rows=per_rank, tokens=tokens
            )
            samples_per_s = world_size * per_rank / prediction.step_s
            alone = alone or rows / prediction.step_s  # the first: one GPU's samples/s
            row = result.setdefault(name, {})
            for key, value in (
                ("step_ms", 1000 * prediction.step_s),
                ("samples_per_s", samples_per_s),
                ("exposed_ms", 1000 * prediction.exposed_s),
                ("speedup", samples_per_s / alone),
            ):
                row.setdefault(key, []).append(value)
    digits = {"speedup": 2}
    return {
        name: {key: interval(v, digits=digits.get(key, 1)) for key, v in row.items()}
        for name, row in result.items()
    }
