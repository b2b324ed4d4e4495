"""The check of tell_the_others."""

from __future__ import annotations

import torch

from distrinews.course import exercises


def check(stage: exercises.Stage) -> None:
    for secret in (7.0, -2.5):
        value = torch.tensor(secret if stage.ranks.is_main else 99.0 + stage.ranks.rank)
        got, seen = stage.run(value)
        stage.expect("what rank 0 decided", got, want=secret)
    stage.at_most(
        "collectives on the busiest rank",
        seen.calls(),
        limit=1,
        why="One operation goes from one rank to all.",
    )
    stage.reject_if(
        seen.calls("broadcast_object_list") > 0,
        "it sends an object: pickled bytes, and their number before them. A tensor "
        "travels as it is.",
    )
    stage.at_most(
        "bytes given to them",
        seen.num_bytes,
        limit=4,
        why="A float32 has four.",
    )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
