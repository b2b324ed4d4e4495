"""The check of gather_scores."""

from __future__ import annotations

import torch

from distrinews.course import exercises

SCORES: tuple[list[float], ...] = ([0.5], [0.25, 0.0, 1.0, 0.75], [])


def check(harness: exercises.Harness) -> None:
    local_scores = torch.tensor(SCORES[harness.ranks.rank], dtype=torch.float32)
    got, trace = harness.run(local_scores)
    harness.reject_if(
        isinstance(got, torch.Tensor) and len(got) > 5,
        f"{len(got)} scores, but there are 5: padding counts as scores of 0."
        if isinstance(got, torch.Tensor)
        else "",
    )
    want = torch.tensor([0.5, 0.25, 0.0, 1.0, 0.75])
    harness.expect("all scores, by rank", got, want=want)
    harness.reject_if(
        trace.calls("all_gather_object") > 0,
        "it sends objects: pickle costs time, and no GPU can send them.",
    )
    harness.at_most("collectives", trace.calls(), limit=2, why="Lengths, then scores.")


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
