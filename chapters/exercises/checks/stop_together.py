"""The check of stop_together."""

from __future__ import annotations

from distrinews.course import exercises

# Means 3, 2, 1.5, 2: stop at 3. Alone, rank 0 would stop at 2 and rank 1 at 1.
LOSSES = ([4.0, 1.0, 1.0, 1.0, 0.0], [2.0, 3.0, 2.0, 3.0, 0.0])


def check(harness: exercises.Harness) -> None:
    got, trace = harness.run(list(LOSSES[harness.ranks.rank]))
    epochs = harness.gather_objects(got)
    harness.reject_if(
        len(set(epochs)) > 1,
        f"the ranks stop in epochs {epochs}: the rank that continues waits forever.",
    )
    harness.reject_if(
        got == 2, "all stop in epoch 2: that is what rank 0's own losses say."
    )
    harness.expect("epoch in which training stops", got, want=3)
    harness.at_most(
        "collectives", trace.calls(), limit=4, why="One per epoch is enough."
    )
    got, _ = harness.run([3.0, 2.0, 1.0])
    harness.expect("epochs, if none is worse", got, want=3)


EXERCISE = exercises.Exercise(check=check)
