"""The check of ring_by_hand."""

from __future__ import annotations

import torch

from distrinews.course import exercises


def check(harness: exercises.Harness) -> None:
    rank, world_size = harness.ranks.rank, harness.ranks.world_size
    values = torch.arange(12.0) + 100.0 * rank
    _, trace = harness.run(values)
    harness.reject_if(
        trace.calls() > 0,
        "it calls a collective: only messages to a neighbour are allowed.",
    )
    want = world_size * torch.arange(12.0) + 300.0
    wrong = int((values != want).sum())
    harness.reject_if(
        wrong == 8,
        "a third of the numbers is complete, the rest is not: the sums were computed, "
        "but not passed on.",
    )
    harness.expect("the sums", values, want=want)
    sent = sum(e.num_bytes for e in trace.events if e.name in {"send", "isend"})
    harness.at_most(
        "bytes sent by the busiest rank",
        sent,
        limit=2 * (world_size - 1) * values.nbytes // world_size,
        why="Send chunks, not the whole tensor, and only to the next rank.",
    )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
