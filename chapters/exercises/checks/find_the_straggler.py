"""The check of find_the_straggler."""

from __future__ import annotations

import torch

from distrinews.course import exercises

TIMES_S = ([2.0, 1.0, 1.0], [1.0, 2.0, 3.0], [1.0, 1.0, 2.0])
# Rank 1 computes 6 of 14 s. Each step lasts 2, 2, 3 s: 3 x 7 = 21 s are paid.
LOST = 1 - 14 / 21


def check(harness: exercises.Harness) -> None:
    times = torch.tensor(TIMES_S[harness.ranks.rank], dtype=torch.float64)
    (slowest, lost), trace = harness.run(times)
    harness.expect("slowest rank", slowest, want=1)
    harness.reject_if(
        abs(lost - (1 - 14 / 18)) < 1e-6,
        "22 % would be lost if only the slowest rank's sum counted; but the others "
        "wait in every step for that step's slowest.",
    )
    harness.expect("share of time spent waiting", lost, want=LOST)
    harness.at_most(
        "collectives", trace.calls(), limit=1, why="One tensor holds them all."
    )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
