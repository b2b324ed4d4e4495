"""Clip the gradient, not each rank's part of it.

Task      Every rank holds its own gradients, not yet averaged. Write `solve` so that
          they become the averaged gradient, scaled down to the norm `max_norm` if its
          norm is larger.
Target    The gradients of one process that clips, on 2 ranks; 1 collective.
Hint 1    Is the norm of a mean the mean of the norms?
Hint 2    After averaging all ranks hold the same numbers. Does any rank need another
          rank's norm then?
Hint 3    Flatten, all_reduce, divide; scale by min(1, max_norm / norm); copy back. Or
          `nn.utils.clip_grad_norm_` after averaging.
Concept   understand/gradient-sync
Level     medium
Takes     4 s
"""

from __future__ import annotations

from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module, max_norm: float) -> None:
    """Average the gradients over all ranks, then clip them by their norm.

    Args:
        ranks: This process's rank and the number of ranks.
        model: Each parameter has this rank's gradient.
        max_norm: The largest norm of the averaged gradient, taken as one long vector.
    """
    raise NotImplementedError("write it here")
