"""Collect every rank's predictions, in the order of the rows, each row once.

For results that sums cannot give: AUC, a median, the ten worst rows, a file of
predictions. If sums are enough, they are cheaper (`distrinews.metrics.classification`).

Not here: running the model (`distrinews.metrics.evaluation`).

Letters used for shapes: n = rows of this rank, N = rows of all ranks.
Guide: understand/metrics-over-ranks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeVar, overload

import torch

from distrinews import dist
from distrinews.errors import DataError

__all__ = ["gather"]

T = TypeVar("T")


@overload
def gather(
    predictions: torch.Tensor,
    *,
    rows: Sequence[int] | torch.Tensor,
    num_rows: int | None = None,
) -> torch.Tensor: ...


@overload
def gather(
    predictions: Sequence[T],
    *,
    rows: Sequence[int] | torch.Tensor,
    num_rows: int | None = None,
) -> list[T]: ...


def gather(
    predictions: Sequence[Any] | torch.Tensor,
    *,
    rows: Sequence[int] | torch.Tensor,
    num_rows: int | None = None,
) -> list[Any] | torch.Tensor:
    """Collect the predictions of all ranks, sorted by row number, each row once.

    Why row numbers: each rank holds every W-th row or batch, and a sampler that pads
    gives some rows to two ranks. The numbers restore the order and identify the
    padding.

    Collective: every rank must call it, even a rank without rows.

    Args:
        predictions: One for each of this rank's rows: a tensor [n, ...], of the same
            row shape on every rank; or a list of n objects that pickle, such as texts
            or tensors of different lengths.
        rows: Their row numbers [n] in the whole data set. Ranks may hold different
            numbers of rows.
        num_rows: N, to check that rows 0 to N - 1 are all present; None: no check.

    Returns:
        The predictions on every rank, on the CPU: a tensor [N, ...] or a list of N. If
        a row came twice, the lowest rank's prediction is used.

    Raises:
        DataError: A rank's numbers of predictions and of rows differ, or a row is
            missing. On every rank.

    Note:
        Cost: two all-gathers of pickles, padded to the longest: every rank receives
        everything and briefly holds it.

    Examples:
        >>> gather(["c", "a", "c"], rows=[2, 0, 2])
        ['a', 'c']
        >>> gather(torch.tensor([0.5, 0.25]), rows=[1, 0], num_rows=2)
        tensor([0.2500, 0.5000])
    """
    with dist.raise_together():
        numbers = [int(row) for row in rows]
        if len(predictions) != len(numbers):
            raise DataError(
                f"rank {dist.current().rank}: {len(predictions)} predictions for "
                f"{len(numbers)} row numbers.",
                why="it is unclear which prediction belongs to which row.",
                fix="one row number for each prediction, in the same order.",
                page="evaluation",
            )
        values = _on_cpu(predictions)
    all_numbers, parts = zip(*dist.gather_objects((numbers, values)), strict=True)
    first: dict[int, int] = {}  # row -> position of its first prediction
    for place, row in enumerate(itertools.chain.from_iterable(all_numbers)):
        first.setdefault(row, place)
    # No vote from here on: all ranks look at the same rows.
    if num_rows is not None and first.keys() != {*range(num_rows)}:
        missing = sorted({*range(num_rows)} - first.keys())
        unknown = sorted(first.keys() - {*range(num_rows)})
        raise DataError(
            f"of {num_rows} rows {len(missing)} are missing and {len(unknown)} are "
            f"unknown, such as {[*missing, *unknown][:3]}.",
            why="a metric over them would not describe the whole data set.",
            fix="give each of the rows 0 to num_rows - 1 to a rank: "
            "sharding.evaluation_batches.",
            page="evaluation",
        )
    places = [first[row] for row in sorted(first)]
    if isinstance(values, torch.Tensor):
        return torch.cat(parts)[places]
    all_values = [*itertools.chain.from_iterable(parts)]
    return [all_values[place] for place in places]


def _on_cpu(predictions: Sequence[Any] | torch.Tensor) -> list[Any] | torch.Tensor:
    """A copy to send: for a slice, pickle would send the whole tensor."""
    if isinstance(predictions, torch.Tensor):
        return predictions.detach().cpu().clone()
    return [
        value.detach().cpu().clone() if isinstance(value, torch.Tensor) else value
        for value in predictions
    ]
