"""Fit the cost model to this machine, and judge it by settings it was not fitted to.

Promise: a fit sees only what was measured for calibration; the error is that of other
settings: other shapes, bucket sizes, depths, numbers of ranks. What each term is worth
is told by leaving it out. Fits are least squares of *relative* errors, and no number
is below zero: a message does not take less than no time.

Not here: measuring (`distrinews.bench.costmodel.measurement`), the model's arithmetic
(`distrinews.bench.costmodel.step_model`).

Letters used for shapes: W = number of ranks, B = rows a rank, T = tokens a row.
Guide: benchmarks/cost-model.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from distrinews.bench import timing
from distrinews.bench.costmodel import step_model
from distrinews.bench.costmodel.step_model import Compute, Link, Prediction
from distrinews.model import sizes

__all__ = [
    "TERMS",
    "Fitted",
    "Setting",
    "cut",
    "figures",
    "fit",
    "fit_compute",
    "fit_link",
    "table",
]


def fit_link(
    sizes_bytes: Sequence[float], times_s: Sequence[float], *, world_size: int
) -> Link:
    """Fit alpha and bandwidth to timed all-reduces.

    Args:
        sizes_bytes: Of the tensors; from small to large, at least two.
        times_s: How long each took.
        world_size: W.

    Returns:
        The link; neither part is below zero.

    Examples:
        >>> link = fit_link([0.0, 100.0], [2.0, 4.0], world_size=2)
        >>> round(link.alpha_s, 6), round(link.bytes_per_s, 6)
        (1.0, 50.0)
    """
    messages = 2 * (world_size - 1)
    sizes, times = np.asarray(sizes_bytes, float), np.asarray(times_s, float)
    terms = np.stack([np.full_like(sizes, messages), messages * sizes / world_size], 1)
    alpha_s, per_byte_s = _fit(terms, times)
    return Link(float(alpha_s), 1 / max(float(per_byte_s), 1e-15))


def fit_compute(
    shapes: Sequence[tuple[int, int]],
    times_s: Sequence[float],
    *,
    backward_share: float,
    optimizer_s: float,
) -> Compute:
    """Fit the speed of computing to timed batches.

    Args:
        shapes: (B, T) of each batch; at least three that differ in both.
        times_s: Forward and backward of each, without communication.
        backward_share: The measured part of backward.
        optimizer_s: The measured time of the optimizer.

    Returns:
        The fitted numbers; none is below zero.

    Examples:
        >>> true = Compute(1.0, 0.5, 0.25, 0.6, 0.1)
        >>> shapes = [(1, 2), (2, 4), (4, 8), (8, 2)]
        >>> times = [true.both_s(*shape) for shape in shapes]
        >>> told = fit_compute(shapes, times, backward_share=0.6, optimizer_s=0.1)
        >>> round(told.fixed_s, 6), round(told.per_token_s, 6)
        (1.0, 0.5)
    """
    rows, tokens = np.asarray(shapes, float).T
    terms = np.stack([np.ones_like(rows), rows * tokens, rows * tokens**2], axis=1)
    fixed_s, per_token_s, per_pair_s = _fit(terms, np.asarray(times_s, float))
    return Compute(
        float(fixed_s),
        float(per_token_s),
        float(per_pair_s),
        backward_share,
        optimizer_s,
    )


def _fit(terms: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Least squares of *relative* errors, without negative times."""
    # WHY relative: a wrong prediction of a short step is as wrong as that of a long
    # one. WHY by leaving terms out: of two or three, every choice can be tried.
    weighted, ones = terms / times[:, None], np.ones_like(times)
    num_terms = terms.shape[1]
    best, best_error = np.zeros(num_terms), np.inf
    for chosen in range(1, 2**num_terms):
        kept = [term for term in range(num_terms) if chosen >> term & 1]
        found, *_ = np.linalg.lstsq(weighted[:, kept], ones, rcond=None)
        if (found < 0).any():
            continue
        full = np.zeros(num_terms)
        full[kept] = found
        error = float(((weighted @ full - ones) ** 2).sum())
        # WHY a margin: among equally good ones the first has the fewest terms.
        if error < best_error - 1e-12:
            best, best_error = full, error
    return best


MIB = 1024 * 1024
DEFAULT_BUCKET_MIB = 25  # torch DDP's own
NOTHING_S = 1e-6  # a microsecond
# What can be left out, to see what it is worth.
TERMS = ("communication", "overlap", "contention", "meeting", "optimizer")


@dataclass(frozen=True)
class Setting:
    """A step that can be timed and predicted.

    Attributes:
        model: In `sizes.SIZES`.
        world_size: W.
        rows: B.
        tokens: T.
        bucket_mib: DDP's bucket size; 25 is its default, with a first bucket of 1.
    """

    model: str
    world_size: int
    rows: int
    tokens: int
    bucket_mib: int = DEFAULT_BUCKET_MIB


@dataclass(frozen=True)
class Fitted:
    """What a calibration found.

    Attributes:
        computes: (model, W) -> its speed while W ranks compute.
        links: W -> how W ranks reach each other.
    """

    computes: Mapping[tuple[str, int], Compute]
    links: Mapping[int, Link]

    def predict(self, setting: Setting, *, without: str | None = None) -> Prediction:
        """Predict a step.

        Args:
            setting: Of a calibrated model or of one with another depth; W may lie
                between calibrated numbers of ranks.
            without: A term in `TERMS` to leave out; None for the whole model.

        Returns:
            The step in its parts.
        """
        compute = self._compute(setting.model, setting.world_size)
        link = self.links.get(setting.world_size, Link(0.0, 1.0))
        buckets = cut(setting.model, setting.bucket_mib)
        if without == "communication":
            link = Link(0.0, float("inf"))
        elif without == "overlap":  # all travels when backward is over
            buckets = [(1.0, num_bytes) for _, num_bytes in buckets]
        elif without == "contention":
            link = dataclasses.replace(link, contention=0.0)
        elif without == "meeting":
            link = dataclasses.replace(link, meeting_s=0.0)
        elif without == "optimizer":
            compute = dataclasses.replace(compute, optimizer_s=0.0)
        return step_model.predict(
            compute,
            link,
            buckets=buckets,
            world_size=setting.world_size,
            rows=setting.rows,
            tokens=setting.tokens,
        )

    def _compute(self, model: str, world_size: int) -> Compute:
        if (model, world_size) in self.computes:
            return self.computes[model, world_size]
        known = sorted({ranks for _, ranks in self.computes})
        if world_size in known:
            return _other_depth(self.computes, model, world_size)
        # In proportion, between the two neighbours.
        low = max(ranks for ranks in known if ranks < world_size)
        high = min(ranks for ranks in known if ranks > world_size)
        part = (world_size - low) / (high - low)
        return _mix(self._compute(model, low), self._compute(model, high), part=part)


def _mix(one: Compute, other: Compute, *, part: float) -> Compute:
    """A part of the way from one to the other, number by number."""
    pairs = zip(dataclasses.astuple(one), dataclasses.astuple(other), strict=True)
    return Compute(*(a + part * (b - a) for a, b in pairs))


def _other_depth(
    computes: Mapping[tuple[str, int], Compute], model: str, world_size: int
) -> Compute:
    """A model of the same width: computing by layers, the optimizer by weights."""
    size = sizes.SIZES[model]
    [alike] = [
        name
        for name, ranks in computes
        if ranks == world_size and sizes.SIZES[name].dim == size.dim
    ]
    known, depth = computes[alike, world_size], size.layers / sizes.SIZES[alike].layers
    weights = sum(sizes.gradient_bytes(model)) / sum(sizes.gradient_bytes(alike))
    return Compute(
        known.fixed_s * depth,
        known.per_token_s * depth,
        known.per_pair_s * depth,
        known.backward_share,
        known.optimizer_s * weights,
    )


@functools.cache
def cut(model: str, bucket_mib: int) -> Sequence[tuple[float, int]]:
    """Cut a model's gradients as torch's DDP does.

    Args:
        model: In `sizes.SIZES`.
        bucket_mib: Its bucket size.

    Returns:
        As `costmodel.buckets_of`.

    Examples:
        >>> [num_bytes for _, num_bytes in cut("tiny", 1000)] == [
        ...     sum(sizes.gradient_bytes("tiny"))
        ... ]
        True
    """
    nbytes = sizes.gradient_bytes(model)
    # WHY 1 only for the default: DDP's first bucket is as large as the others once a
    # size is asked for (torch/nn/parallel/distributed.py, torch 2.13).
    first_mib = 1 if bucket_mib == DEFAULT_BUCKET_MIB else bucket_mib
    return step_model.buckets_of(
        nbytes,
        first_bytes=first_mib * MIB,
        bucket_bytes=bucket_mib * MIB,
        # Word and position embeddings: many bytes, hardly any computing.
        work=[0, 0, *nbytes[2:]],
    )


def fit(calibrated: Mapping[str, Sequence[Mapping[str, Any]]]) -> Fitted:
    """Fit links and computing to timed parts of a step.

    Args:
        calibrated: "all_reduce": `world_size`, `num_bytes`, `step_ms`; "compute":
            `model`, `world_size`, `rows`, `tokens`, `forward_ms`, `backward_ms`,
            `step_ms`, within `no_sync`; "overlap": a `Setting` and `step_ms`
            of the whole step.

    Returns:
        The fit.
    """
    computes = {
        key: _fit_compute(rows)
        for key, rows in _grouped(calibrated["compute"], "model", "world_size").items()
    }
    links = {}
    for (ranks,), rows in _grouped(calibrated["all_reduce"], "world_size").items():
        sent = [row["num_bytes"] for row in rows]
        times = [row["step_ms"] / 1000 for row in rows]
        links[ranks] = fit_link(sent, times, world_size=ranks)
    # WHY from whole steps: what communication takes from computing, and what meeting
    # costs, shows only where ranks do both. WHY meeting first: a model of one bucket
    # hides nothing, so what its step lasts longer is meeting alone.
    for name, hides in (("meeting_s", False), ("contention", True)):
        bare = Fitted(computes, dict(links))
        lost: dict[int, float] = {}
        for row in calibrated["overlap"]:
            known = {one.name: row[one.name] for one in dataclasses.fields(Setting)}
            told = bare.predict(Setting(**known))
            # WHY not above 0: what is left of a difference of equal times is rounding.
            if (told.hidden_s > NOTHING_S) == hides:
                lost_s = max(0.0, row["step_ms"] / 1000 - told.step_s)
                per = told.hidden_s if hides else 1.0
                lost[row["world_size"]] = lost_s / per
        for ranks in links if lost else ():
            found = float(
                np.interp(ranks, sorted(lost), [lost[r] for r in sorted(lost)])
            )
            links[ranks] = dataclasses.replace(links[ranks], **{name: found})
    return Fitted(computes, links)


def _fit_compute(rows: Sequence[Mapping[str, Any]]) -> Compute:
    both_s = [(row["forward_ms"] + row["backward_ms"]) / 1000 for row in rows]
    shares = [
        row["backward_ms"] / 1000 / both for row, both in zip(rows, both_s, strict=True)
    ]
    left = [row["step_ms"] - row["forward_ms"] - row["backward_ms"] for row in rows]
    return fit_compute(
        [(row["rows"], row["tokens"]) for row in rows],
        both_s,
        backward_share=statistics.median(shares),
        # WHY what is left and not the optimizer's phase: zeroing gradients gives their
        # memory back and does not depend on the rows either (minilm: 3 ms of 35).
        optimizer_s=statistics.median(left) / 1000,
    )


def _grouped(
    rows: Sequence[Mapping[str, Any]], *names: str
) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def figures(
    calibrated: Mapping[str, Sequence[Mapping[str, Any]]],
    held_out: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Fit to the one, predict the other, and tell how wrong that is.

    Args:
        calibrated: As `fit` takes it; nothing else is fitted to.
        held_out: A `Setting`'s fields and `measured_ms` each.

    Returns:
        `held_out` with `predicted_ms`, `error` (relative, signed) and `parts_ms`;
        `median_error` and `worst_error` (absolute); `without`: both for the model
        without each term; `fitted` and `calibrated`.
    """
    fitted = fit(calibrated)
    names = [field.name for field in dataclasses.fields(Setting)]
    rows = []
    for row in held_out:
        told = fitted.predict(Setting(**{name: row[name] for name in names}))
        parts = {
            name.removesuffix("_s"): round(1000 * value, 3)
            for name, value in dataclasses.asdict(told).items()
        }
        error = round(1000 * told.step_s / row["measured_ms"] - 1, 4)
        shown = {"predicted_ms": round(1000 * told.step_s, 3), "error": error}
        rows.append({**row, **shown, "parts_ms": parts})
    settings = [Setting(**{name: row[name] for name in names}) for row in held_out]
    without = {}
    for term in TERMS:
        errors = [
            1000 * fitted.predict(one, without=term).step_s / row["measured_ms"] - 1
            for one, row in zip(settings, held_out, strict=True)
        ]
        without[term] = _errors(errors)
    return {
        "held_out": rows,
        **_errors([row["error"] for row in rows]),
        "without": without,
        "fitted": _listed(fitted),
        "calibrated": dict(calibrated),
    }


def _errors(errors: Sequence[float]) -> dict[str, float]:
    sizes_of = [abs(error) for error in errors]
    return {
        "median_error": round(statistics.median(sizes_of), 4),
        "worst_error": round(max(sizes_of), 4),
    }


def _listed(fitted: Fitted) -> dict[str, Any]:
    """The fit as plain values."""
    return {
        "computes": [
            {"model": model, "world_size": ranks} | dataclasses.asdict(compute)
            for (model, ranks), compute in fitted.computes.items()
        ],
        "links": [
            {"world_size": ranks} | dataclasses.asdict(link)
            for ranks, link in fitted.links.items()
        ],
    }


def table(found: Mapping[str, Any]) -> str:
    """Draw predicted beside measured, as a table for Markdown and a terminal.

    Args:
        found: What `figures` returned.

    Returns:
        A row per held-out setting, then the errors in a sentence.
    """
    head = ["model", "ranks", "rows a rank", "tokens", "bucket"]
    lines = [[*head, "predicted", "measured", "error"]]
    for row in found["held_out"]:
        lines.append([
            row["model"].replace("_", " "),
            str(row["world_size"]),
            str(row["rows"]),
            str(row["tokens"]),
            f"{row['bucket_mib']} MiB",
            f"{row['predicted_ms']:.0f} ms",
            f"{row['measured_ms']:.0f} ms",
            f"{row['error']:+.1%}",
        ])
    words = (
        f"Median error {found['median_error']:.1%}, worst {found['worst_error']:.1%}, "
        f"on {len(found['held_out'])} settings that nothing was fitted to."
    )
    return f"{timing.draw_table(lines)}\n\n{words}"
