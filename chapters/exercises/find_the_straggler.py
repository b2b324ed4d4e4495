"""One rank holds up the others. Which one, and what does it cost?

Task      Each rank has timed its own computing in every step. Write `solve` so that
          every rank returns the number of the slowest rank, and the fraction of all
          ranks' time that they lose by waiting for the slowest rank of each step.
Target    Right on 3 ranks, in 1 collective.
Hint 1    In each step all ranks wait for the slowest. Is it always the same rank?
Hint 2    You need all ranks' times of all steps: one all_gather of a tensor.
Hint 3    times [W, S]: slowest = argmax of the sums; paid = W x sum over steps of the
          max; lost = 1 - times.sum() / paid.
Concept   understand/stragglers-and-length-balance
Level     medium
Takes     4 s
"""

from __future__ import annotations

import torch

from distrinews import dist


def solve(ranks: dist.Ranks, step_s: torch.Tensor) -> tuple[int, float]:
    """Return the slowest rank and the fraction of time that is spent waiting.

    Args:
        ranks: This process's rank and the number of ranks.
        step_s: float64 [S], seconds that this rank computed in each step.
    """
    raise NotImplementedError("write it here")
