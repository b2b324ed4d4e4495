"""The check of stop_together."""

from __future__ import annotations

from distrinews.course import exercises

# Means 3, 2, 1.5, 2: stop at 3. Alone, rank 0 would stop at 2 and rank 1 at 1.
LOSSES = ([4.0, 1.0, 1.0, 1.0, 0.0], [2.0, 3.0, 2.0, 3.0, 0.0])


def check(stage: exercises.Stage) -> None:
    got, seen = stage.run(list(LOSSES[stage.ranks.rank]))
    everyone = stage.together(got)
    stage.reject_if(
        len(set(everyone)) > 1,
        f"the ranks stop in epochs {everyone}: the one that trains on waits for ever.",
    )
    stage.reject_if(
        got == 2, "all stop in epoch 2: that is what rank 0's own losses say."
    )
    stage.expect("epoch in which training stops", got, want=3)
    stage.at_most("collectives", seen.calls(), limit=4, why="One an epoch is enough.")
    got, _ = stage.run([3.0, 2.0, 1.0])
    stage.expect("epochs, if none is worse", got, want=3)


EXERCISE = exercises.Exercise(check=check)
