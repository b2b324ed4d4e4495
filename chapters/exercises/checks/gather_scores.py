"""The check of gather_scores."""

from __future__ import annotations

import torch

from distrinews.course import exercises

SCORES: tuple[list[float], ...] = ([0.5], [0.25, 0.0, 1.0, 0.75], [])


def check(stage: exercises.Stage) -> None:
    mine = torch.tensor(SCORES[stage.ranks.rank], dtype=torch.float32)
    got, seen = stage.run(mine)
    stage.reject_if(
        isinstance(got, torch.Tensor) and len(got) > 5,
        f"{len(got)} scores, but there are 5: padding counts as scores of 0."
        if isinstance(got, torch.Tensor)
        else "",
    )
    want = torch.tensor([0.5, 0.25, 0.0, 1.0, 0.75])
    stage.expect("all scores, by rank", got, want=want)
    stage.reject_if(
        seen.calls("all_gather_object") > 0,
        "it sends objects: pickle costs time, and no GPU can send them.",
    )
    stage.at_most("collectives", seen.calls(), limit=2, why="Lengths, then scores.")


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
