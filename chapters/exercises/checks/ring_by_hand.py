"""The check of ring_by_hand."""

from __future__ import annotations

import torch

from distrinews.course import exercises


def check(stage: exercises.Stage) -> None:
    rank, world_size = stage.ranks.rank, stage.ranks.world_size
    values = torch.arange(12.0) + 100.0 * rank
    _, seen = stage.run(values)
    stage.reject_if(
        seen.calls() > 0,
        "it calls a collective: only messages to a neighbour are allowed.",
    )
    want = world_size * torch.arange(12.0) + 300.0
    wrong = int((values != want).sum())
    stage.reject_if(
        wrong == 8,
        "a third of the numbers is complete, the rest is not: the sums were made, and "
        "nobody handed them on.",
    )
    stage.expect("the sums", values, want=want)
    sent = sum(e.num_bytes for e in seen.events if e.name in {"send", "isend"})
    stage.at_most(
        "bytes sent by the busiest rank",
        sent,
        limit=2 * (world_size - 1) * values.nbytes // world_size,
        why="Send chunks, not the whole tensor, and only to the next rank.",
    )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
