"""The check of tell_the_others."""

from __future__ import annotations

import torch

from distrinews.course import exercises


def check(harness: exercises.Harness) -> None:
    for secret in (7.0, -2.5):
        value = torch.tensor(
            secret if harness.ranks.is_main else 99.0 + harness.ranks.rank
        )
        got, trace = harness.run(value)
        harness.expect("what rank 0 decided", got, want=secret)
    harness.at_most(
        "collectives on the busiest rank",
        trace.calls(),
        limit=1,
        why="One operation goes from one rank to all.",
    )
    harness.reject_if(
        trace.calls("broadcast_object_list") > 0,
        "it sends an object: pickled bytes, preceded by their number. A tensor "
        "is sent as it is.",
    )
    harness.at_most(
        "bytes given to them",
        trace.num_bytes,
        limit=4,
        why="A float32 has four.",
    )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
