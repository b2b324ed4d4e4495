"""Fit the cost model to this machine, and judge it by settings it was not fitted to.

Promise: a fit sees only what was measured for calibration; the error is that of other
settings: other shapes, bucket sizes, depths, numbers of ranks. What each term is worth
is told by leaving it out. Fits are least squares of *relative* errors, and no number
is below zero: a message does not take less than no time.

Not here: measuring (`distrinews.bench.costmodel.measurement`), the model's arithmetic
(`distrinews.bench.costmodel.step_model`).

Letters used for shapes: W = number of ranks, B = rows per rank, T = tokens per row.
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
    "CostModel",
    "Setting",
    "ddp_buckets",
    "figures",
    "fit",
    "fit_compute",
    "fit_link",
    "table",
]

MIB = 1024 * 1024
DEFAULT_BUCKET_MIB = 25  # torch DDP's own
NEGLIGIBLE_S = 1e-6  # a microsecond
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
class CostModel:
    """The cost model, fitted by a calibration.

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
        buckets = ddp_buckets(setting.model, setting.bucket_mib)
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
            return _scale_depth(self.computes, model, world_size)
        # In proportion, between the two neighbours.
        low = max(ranks for ranks in known if ranks < world_size)
        high = min(ranks for ranks in known if ranks > world_size)
        fraction = (world_size - low) / (high - low)
        return _interpolate(
            self._compute(model, low), self._compute(model, high), fraction=fraction
        )


def _interpolate(low: Compute, high: Compute, *, fraction: float) -> Compute:
    """Interpolate linearly between two speeds, number by number."""
    pairs = zip(dataclasses.astuple(low), dataclasses.astuple(high), strict=True)
    return Compute(*(a + fraction * (b - a) for a, b in pairs))


def _scale_depth(
    computes: Mapping[tuple[str, int], Compute], model: str, world_size: int
) -> Compute:
    """A model of the same width: computing by layers, the optimizer by weights."""
    size = sizes.SIZES[model]
    [same_width] = [
        name
        for name, ranks in computes
        if ranks == world_size and sizes.SIZES[name].dim == size.dim
    ]
    known, depth = (
        computes[same_width, world_size],
        size.layers / sizes.SIZES[same_width].layers,
    )
    weights = sum(sizes.gradient_bytes(model)) / sum(sizes.gradient_bytes(same_width))
    return Compute(
        known.fixed_s * depth,
        known.per_token_s * depth,
        known.per_pair_s * depth,
        known.backward_share,
        known.optimizer_s * weights,
    )


@functools.cache
def ddp_buckets(model: str, bucket_mib: int) -> Sequence[tuple[float, int]]:
    """Cut a model's gradients as torch's DDP does.

    Args:
        model: In `sizes.SIZES`.
        bucket_mib: Its bucket size.

    Returns:
        As `step_model.buckets_of`.

    Examples:
        >>> [num_bytes for _, num_bytes in ddp_buckets("tiny", 1000)] == [
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


def fit(calibrated: Mapping[str, Sequence[Mapping[str, Any]]]) -> CostModel:
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
        key: _fit_compute_rows(rows)
        for key, rows in _group_by(calibrated["compute"], "model", "world_size").items()
    }
    links = {}
    for (ranks,), rows in _group_by(calibrated["all_reduce"], "world_size").items():
        sent = [row["num_bytes"] for row in rows]
        times = [row["step_ms"] / 1000 for row in rows]
        links[ranks] = fit_link(sent, times, world_size=ranks)
    # WHY from whole steps: what communication takes from computing, and what meeting
    # costs, shows only where ranks do both. WHY meeting first: a model of one bucket
    # hides nothing, so what its step lasts longer is meeting alone.
    for name, hides in (("meeting_s", False), ("contention", True)):
        bare = CostModel(computes, dict(links))
        lost: dict[int, float] = {}
        for row in calibrated["overlap"]:
            prediction = bare.predict(_setting_of(row))
            # WHY not above 0: what is left of a difference of equal times is rounding.
            if (prediction.hidden_s > NEGLIGIBLE_S) == hides:
                lost_s = max(0.0, row["step_ms"] / 1000 - prediction.step_s)
                divisor = prediction.hidden_s if hides else 1.0
                lost[row["world_size"]] = lost_s / divisor
        for ranks in links if lost else ():
            value = float(
                np.interp(ranks, sorted(lost), [lost[r] for r in sorted(lost)])
            )
            links[ranks] = dataclasses.replace(links[ranks], **{name: value})
    return CostModel(computes, links)


def _setting_of(row: Mapping[str, Any]) -> Setting:
    """Read the setting of a timed step out of a record's row."""
    return Setting(**{f.name: row[f.name] for f in dataclasses.fields(Setting)})


def _fit_compute_rows(rows: Sequence[Mapping[str, Any]]) -> Compute:
    forward_backward_s = [
        (row["forward_ms"] + row["backward_ms"]) / 1000 for row in rows
    ]
    shares = [
        row["backward_ms"] / 1000 / both_s
        for row, both_s in zip(rows, forward_backward_s, strict=True)
    ]
    left = [row["step_ms"] - row["forward_ms"] - row["backward_ms"] for row in rows]
    return fit_compute(
        [(row["rows"], row["tokens"]) for row in rows],
        forward_backward_s,
        backward_share=statistics.median(shares),
        # WHY what is left and not the optimizer's phase: zeroing gradients gives their
        # memory back and does not depend on the rows either (minilm: 3 ms of 35).
        optimizer_s=statistics.median(left) / 1000,
    )


def _group_by(
    rows: Sequence[Mapping[str, Any]], *names: str
) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


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
    num_bytes, times = np.asarray(sizes_bytes, float), np.asarray(times_s, float)
    terms = np.stack(
        [np.full_like(num_bytes, messages), messages * num_bytes / world_size], axis=1
    )
    alpha_s, per_byte_s = _least_squares(terms, times)
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
        >>> times = [true.forward_backward_s(*shape) for shape in shapes]
        >>> fitted = fit_compute(shapes, times, backward_share=0.6, optimizer_s=0.1)
        >>> round(fitted.fixed_s, 6), round(fitted.per_token_s, 6)
        (1.0, 0.5)
    """
    rows, tokens = np.asarray(shapes, float).T
    terms = np.stack([np.ones_like(rows), rows * tokens, rows * tokens**2], axis=1)
    fixed_s, per_token_s, per_pair_s = _least_squares(terms, np.asarray(times_s, float))
    return Compute(
        float(fixed_s),
        float(per_token_s),
        float(per_pair_s),
        backward_share,
        optimizer_s,
    )


def _least_squares(terms: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Least squares of *relative* errors, without negative times."""
    # WHY relative: a wrong prediction of a short step is as wrong as that of a long
    # one. WHY by leaving terms out: of two or three, every choice can be tried; scipy's
    # nnls would be a dependency of 35 MB for these lines.
    weighted, ones = terms / times[:, None], np.ones_like(times)
    num_terms = terms.shape[1]
    best, best_error = np.zeros(num_terms), np.inf
    for chosen in range(1, 2**num_terms):
        kept = [term for term in range(num_terms) if chosen >> term & 1]
        solution, *_ = np.linalg.lstsq(weighted[:, kept], ones, rcond=None)
        if (solution < 0).any():
            continue
        full = np.zeros(num_terms)
        full[kept] = solution
        error = float(((weighted @ full - ones) ** 2).sum())
        # WHY a margin: among equally good ones the first has the fewest terms.
        if error < best_error - 1e-12:
            best, best_error = full, error
    return best


def figures(
    calibrated: Mapping[str, Sequence[Mapping[str, Any]]],
    held_out: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Fit the model to one part, predict the other, and compute the errors.

    Args:
        calibrated: As `fit` takes it; nothing else is fitted to.
        held_out: A `Setting`'s fields and `measured_ms` each.

    Returns:
        `held_out` with `predicted_ms`, `error` (relative, signed) and `parts_ms`;
        `median_error` and `worst_error` (absolute); `without`: both for the model
        without each term; `fitted` and `calibrated`.
    """
    fitted = fit(calibrated)
    rows = []
    for row in held_out:
        prediction = fitted.predict(_setting_of(row))
        parts = {
            name.removesuffix("_s"): round(1000 * value, 3)
            for name, value in dataclasses.asdict(prediction).items()
        }
        error = round(1000 * prediction.step_s / row["measured_ms"] - 1, 4)
        shown = {"predicted_ms": round(1000 * prediction.step_s, 3), "error": error}
        rows.append({**row, **shown, "parts_ms": parts})
    without = {}
    for term in TERMS:
        errors = [
            1000
            * fitted.predict(_setting_of(row), without=term).step_s
            / row["measured_ms"]
            - 1
            for row in held_out
        ]
        without[term] = _error_summary(errors)
    return {
        "held_out": rows,
        **_error_summary([row["error"] for row in rows]),
        "without": without,
        "fitted": _as_plain_values(fitted),
        "calibrated": dict(calibrated),
    }


def _error_summary(errors: Sequence[float]) -> dict[str, float]:
    magnitudes = [abs(error) for error in errors]
    return {
        "median_error": round(statistics.median(magnitudes), 4),
        "worst_error": round(max(magnitudes), 4),
    }


def _as_plain_values(fitted: CostModel) -> dict[str, Any]:
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


def table(result: Mapping[str, Any]) -> str:
    """Draw predicted beside measured, as a table for Markdown and a terminal.

    Args:
        result: What `figures` returned.

    Returns:
        A row per held-out setting, then the errors in a sentence.
    """
    head = ["model", "ranks", "rows per rank", "tokens", "bucket"]
    lines = [[*head, "predicted", "measured", "error"]]
    for row in result["held_out"]:
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
    summary = (
        f"Median error {result['median_error']:.1%}, "
        f"worst {result['worst_error']:.1%}, "
        f"on {len(result['held_out'])} settings that nothing was fitted to."
    )
    return f"{timing.draw_table(lines)}\n\n{summary}"
