"""The check of macro_f1."""

from __future__ import annotations

import torch

from distrinews.course import exercises

PREDICTED = ([0, 0, 1, 1, 2], [1, 3, 3])
LABELS = ([0, 1, 1, 1, 2], [1, 1, 3])
# TP 1 3 1 1; FP 1 0 0 1; FN 0 2 0 0: F1 2/3, 3/4, 1, 2/3.
MACRO_F1 = (2 / 3 + 3 / 4 + 1 + 2 / 3) / 4


def check(harness: exercises.Harness) -> None:
    rank = harness.ranks.rank
    got, trace = harness.run(torch.tensor(PREDICTED[rank]), torch.tensor(LABELS[rank]))
    harness.reject_if(
        isinstance(got, float) and abs(got - 6 / 8) < 1e-6,
        "that is the accuracy (micro F1): the classes' F1 are averaged, not the rows.",
    )
    harness.expect(
        "macro F1 over all rows",
        got,
        want=MACRO_F1,
        why="The mean of the ranks' F1 is another number.",
    )
    harness.at_most(
        "collectives", trace.calls(), limit=1, why="All counts fit into one tensor."
    )


EXERCISE = exercises.Exercise(check=check)
