"""The check of raise_together."""

from __future__ import annotations

from collections.abc import Callable

from distrinews import dist, exercises


def check(stage: exercises.Stage) -> None:
    rank = stage.ranks.rank
    for failing in ((), (0,), (1,), (0, 1)):

        def load(failing: tuple[int, ...] = failing) -> int:
            if rank in failing:
                raise ValueError(f"rank {rank} cannot read")
            return 10 + rank

        raised = [False]

        def solve(
            ranks: dist.Ranks,
            load: Callable[[], int] = load,
            raised: list[bool] = raised,
        ) -> int | None:
            try:
                value: int = stage.solution.solve(ranks, load)
            except ValueError:
                raised[0] = True
                return None
            return value

        got, seen = stage.run(by=solve)
        if failing:
            stage.reject_if(
                not raised[0],
                f"load failed on ranks {list(failing)}, and rank {rank} went on as if "
                "nothing had happened.",
            )
        else:
            stage.reject_if(raised[0], "it raises although load() worked everywhere.")
            stage.expect("what load() returned", got, want=10 + rank)
        stage.at_most("collectives", seen.calls(), limit=1, why="One vote is enough.")


EXERCISE = exercises.Exercise(check=check)
