"""The check of mean_over_all_rows."""

from __future__ import annotations

import torch

from distrinews.course import exercises

ROWS = ([4.0], [1.0, 3.0], [2.0, 2.0, 6.0, 0.0, 6.0])  # 24 over 8 rows: 3
MEAN_OF_MEANS = (4.0 + 2.0 + 3.2) / 3


def check(harness: exercises.Harness) -> None:
    losses = torch.tensor(ROWS[harness.ranks.rank])
    got, trace = harness.run(losses)
    harness.reject_if(
        isinstance(got, float) and abs(got - MEAN_OF_MEANS) < 1e-4,
        f"{got:.4g} is not the mean of all rows, which is 3: a mean of means gives a "
        "rank with one row as much weight as one with five."
        if isinstance(got, float)
        else "",
    )
    harness.expect("mean loss over all rows", got, want=3.0)
    harness.at_most(
        "collectives",
        trace.calls(),
        limit=1,
        why="Sum and count fit into one tensor: each call waits for every rank.",
    )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
