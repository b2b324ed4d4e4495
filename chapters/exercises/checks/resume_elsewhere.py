"""The check of resume_elsewhere."""

from __future__ import annotations

import torch

from distrinews.course import exercises


def check(harness: exercises.Harness) -> None:
    order = torch.randperm(36, generator=torch.Generator().manual_seed(5)).tolist()
    for done in (0, 2, 6):
        local_steps, trace = harness.run(36, done, global_batch_size=6, seed=5)
        harness.at_most(
            "collectives", trace.calls(), limit=0, why="The seed gives the order."
        )
        steps_by_rank = harness.gather_objects([list(step) for step in local_steps])
        read = [row for rank in steps_by_rank for step in rank for row in step]
        again = set(read) & set(order[: 6 * done])
        harness.reject_if(
            bool(again),
            f"{len(again)} rows that were read before step {done} come again.",
        )
        twice = len(read) - len(set(read))
        harness.reject_if(twice > 0, f"{twice} rows are read by two ranks.")
        lost = set(order[6 * done :]) - set(read)
        harness.reject_if(bool(lost), f"{len(lost)} rows of the epoch are never read.")
        num_steps = [len(steps) for steps in steps_by_rank]
        harness.reject_if(
            len(set(num_steps)) > 1,
            f"the ranks have {num_steps} steps left, and should have the same number.",
        )
        steps = [sorted(sum(parts, [])) for parts in zip(*steps_by_rank, strict=True)]
        whole = [sorted(order[6 * i : 6 * i + 6]) for i in range(done, 6)]
        harness.reject_if(
            steps != whole,
            "a step reads other rows than the uninterrupted run: the weights would "
            "differ.",
        )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
