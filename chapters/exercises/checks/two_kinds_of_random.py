"""The check of two_kinds_of_random."""

from __future__ import annotations

import torch

from distrinews.course import exercises


def check(harness: exercises.Harness) -> None:
    drawn: list[tuple[torch.Tensor, torch.Tensor]] = []
    for seed in (3, 3, 4):
        torch.manual_seed(1000 + len(drawn))  # what came before must not matter
        (layer, mask), trace = harness.run(seed)
        harness.at_most("collectives", trace.calls(), limit=0, why="Seeds are enough.")
        drawn_by_rank = harness.gather_objects((layer.weight.detach(), mask))
        harness.reject_if(
            not torch.equal(drawn_by_rank[0][0], drawn_by_rank[1][0]),
            "the ranks start from different weights: averaging gradients never makes "
            "them equal.",
        )
        harness.reject_if(
            torch.equal(drawn_by_rank[0][1], drawn_by_rank[1][1]),
            "both ranks drop the same numbers: half of the noise is lost.",
        )
        drawn.append((layer.weight.detach().clone(), mask.clone()))
    (first, mask), (again, same), (other, _) = drawn
    harness.reject_if(
        not (torch.equal(first, again) and torch.equal(mask, same)),
        "a second run with the same seed gives other numbers.",
    )
    harness.reject_if(
        torch.equal(first, other),
        "another seed gives the same weights: it is not used.",
    )


EXERCISE = exercises.Exercise(check=check)
