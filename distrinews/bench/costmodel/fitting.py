"""Fit the cost model's numbers to timings.

Promise: least squares of *relative* errors, and no number below zero: a message does
not take less than no time.

Not here: what the numbers mean (`distrinews.bench.costmodel.step_model`), which timings
(`distrinews.bench.costmodel.calibration`).

Letters used for shapes: W = number of ranks, B = rows a rank, T = tokens a row.
Guide: benchmarks/cost-model.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from distrinews.bench.costmodel.step_model import Compute, Link

__all__ = ["fit_compute", "fit_link"]


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
