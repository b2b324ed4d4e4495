"""The check of resume_elsewhere."""

from __future__ import annotations

import torch

from distrinews.course import exercises


def check(stage: exercises.Stage) -> None:
    order = torch.randperm(36, generator=torch.Generator().manual_seed(5)).tolist()
    for done in (0, 2, 6):
        mine, seen = stage.run(36, done, global_batch_size=6, seed=5)
        stage.at_most("collectives", seen.calls(), limit=0, why="The seed says it all.")
        everyone = stage.together([list(step) for step in mine])
        read = [row for rank in everyone for step in rank for row in step]
        again = set(read) & set(order[: 6 * done])
        stage.reject_if(
            bool(again),
            f"{len(again)} rows that were read before step {done} come again.",
        )
        twice = len(read) - len(set(read))
        stage.reject_if(twice > 0, f"{twice} rows are read by two ranks.")
        lost = set(order[6 * done :]) - set(read)
        stage.reject_if(bool(lost), f"{len(lost)} rows of the epoch are never read.")
        stage.reject_if(
            len({len(rank) for rank in everyone}) > 1,
            f"the ranks have {[len(rank) for rank in everyone]} steps left, and should "
            "have equally many.",
        )
        steps = [sorted(sum(parts, [])) for parts in zip(*everyone, strict=True)]
        whole = [sorted(order[6 * i : 6 * i + 6]) for i in range(done, 6)]
        stage.reject_if(
            steps != whole,
            "a step reads other rows than the undisturbed run: the weights would "
            "differ.",
        )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
