"""Predict training on hardware that nobody measured here, and say from what.

Promise: every number is the cost model's, labelled as predicted; every figure that it
is made of names its source.

Not here: the model (`distrinews.costmodel`), its fit and its error
(`distrinews.calibration`).

Letters used for shapes: W = number of ranks.
Guide: benchmarks/cost-model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distrinews import costmodel
from distrinews.costmodel import Compute, Link

__all__ = ["Predicted", "at_bandwidth"]

# One message between two machines, with everything that a collective library adds.
# WHY a round number: at 25 Gbit/s it is the time of 0.15 MB, and gradients are a
# hundred times that. It decides nothing unless there are many ranks.
MESSAGE_S = 50e-6


@dataclass(frozen=True)
class Predicted:
    """A predicted step.

    Attributes:
        step_ms: All of it.
        exposed_ms: The part in which gradients travel and nobody computes.
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
) -> Predicted:
    """Predict a step if ranks met over a network of so many Gbit/s.

    Computing stays as fast as it was measured; only the way of the gradients changes:
    a ring all-reduce in DDP's buckets, by network cards that take no time from it.

    Args:
        phases_ms: One rank's "forward", "backward" and "optimizer", without
            communication, as `benchmark.summarise` and `scaling.figures` name them.
        gradient_bytes: Of each parameter, in the order of the forward:
            `[p.nbytes for p in net.parameters()]`. The first is taken for the word
            embedding, whose gradient costs no time of backward.
        world_size: W.
        gbit_per_s: Of each rank's connection, in each direction.
        alone_ms: One process's step with the same rows, for the speed-up.

    Returns:
        The step, to be shown as predicted.

    Examples:
        >>> told = at_bandwidth(
        ...     {"forward": 20.0, "backward": 40.0, "optimizer": 5.0},
        ...     gradient_bytes=[50_000_000, 40_000_000],
        ...     world_size=2, gbit_per_s=25.0, alone_ms=130.0,
        ... )
        >>> round(told.exposed_ms, 1), round(told.step_ms, 1), round(told.speedup, 2)
        (29.0, 94.0, 1.38)
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
    told = costmodel.predict(
        compute,
        link,
        buckets=costmodel.buckets_of(gradient_bytes, work=work),
        world_size=world_size,
        rows=0,
        tokens=0,
    )
    step_ms = 1000 * told.step_s
    speedup = None if alone_ms is None else alone_ms / step_ms
    return Predicted(step_ms, 1000 * told.exposed_s, speedup)
