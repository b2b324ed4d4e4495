"""The check of raise_together."""

from __future__ import annotations

from distrinews.course import exercises


def check(harness: exercises.Harness) -> None:
    rank = harness.ranks.rank
    for failing in ((), (0,), (1,), (0, 1)):

        def load(failing: tuple[int, ...] = failing) -> int:
            if rank in failing:
                raise ValueError(f"rank {rank} cannot read")
            return 10 + rank

        got, trace = harness.run(load, catch=(ValueError,))
        raised = isinstance(got, ValueError)
        if failing:
            harness.reject_if(
                not raised,
                f"load failed on ranks {list(failing)}, and rank {rank} continued as "
                "if nothing had happened.",
            )
        else:
            harness.reject_if(raised, "it raises although load() worked everywhere.")
            harness.expect("what load() returned", got, want=10 + rank)
        harness.at_most(
            "collectives", trace.calls(), limit=1, why="One vote is enough."
        )


EXERCISE = exercises.Exercise(check=check)
