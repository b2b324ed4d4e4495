"""The check of accuracy_of_all."""

from __future__ import annotations

import torch

from distrinews.course import exercises

PREDICTED = ([0, 1, 2], [3, 3], [1, 1])
LABELS = ([0, 1, 2], [3, 0], [0, 1])
PADDING = ([False] * 3, [False] * 2, [False, True])  # 4 of 6 real rows are right


def check(harness: exercises.Harness) -> None:
    rank = harness.ranks.rank
    predicted, labels = torch.tensor(PREDICTED[rank]), torch.tensor(LABELS[rank])
    got, trace = harness.run(predicted, labels, torch.tensor(PADDING[rank]))
    harness.reject_if(
        isinstance(got, float) and abs(got - 5 / 7) < 1e-6,
        "5 of 7: a padding row is counted, and it is correct.",
    )
    harness.expect("accuracy over all real rows", got, want=4 / 6)
    harness.at_most(
        "collectives", trace.calls(), limit=1, why="Two counts fit into one tensor."
    )
    harness.at_most(
        "bytes given to them",
        trace.num_bytes,
        limit=16,
        why="Counts are enough; no rank needs the predictions.",
    )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
