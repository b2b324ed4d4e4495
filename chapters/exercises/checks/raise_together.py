"""The check of raise_together."""

from __future__ import annotations

from distrinews.course import exercises


def check(stage: exercises.Stage) -> None:
    rank = stage.ranks.rank
    for failing in ((), (0,), (1,), (0, 1)):

        def load(failing: tuple[int, ...] = failing) -> int:
            if rank in failing:
                raise ValueError(f"rank {rank} cannot read")
            return 10 + rank

        got, seen = stage.run(load, catch=(ValueError,))
        raised = isinstance(got, ValueError)
        if failing:
            stage.reject_if(
                not raised,
                f"load failed on ranks {list(failing)}, and rank {rank} went on as if "
                "nothing had happened.",
            )
        else:
            stage.reject_if(raised, "it raises although load() worked everywhere.")
            stage.expect("what load() returned", got, want=10 + rank)
        stage.at_most("collectives", seen.calls(), limit=1, why="One vote is enough.")


EXERCISE = exercises.Exercise(check=check)
