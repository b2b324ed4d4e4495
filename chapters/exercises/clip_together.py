"""Clip the gradient, not each rank's part of it.

Task      Every rank holds its own, not yet averaged gradients. Write `solve` so that
          they become the averaged gradient, scaled to the norm `max_norm` if it is
          longer.
Target    The gradients of one process that clips, on 2 ranks; 1 collective.
Hint 1    Is the norm of a mean the mean of the norms?
Hint 2    After averaging all ranks hold the same numbers. Who needs to be asked for a
          norm then?
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
        ranks: Who this process is.
        model: Each parameter has this rank's gradient.
        max_norm: The averaged gradient, as one long vector, is not longer.
    """
    raise NotImplementedError("write it here")
