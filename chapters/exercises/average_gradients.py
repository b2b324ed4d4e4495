"""The heart of data parallelism: one gradient on every rank.

Task      backward() has run on every rank, on different rows. Write `solve` so that
          every gradient is replaced by its mean over all ranks.
Target    The gradients of one process that sees all rows, on 3 ranks. A frozen
          parameter (no gradient on any rank) stays unchanged.
Hint 1    Which collective gives every rank the sum of all ranks' tensors?
Hint 2    The sum is W times the mean. And which tensors do you send: the parameters, or
          their `.grad`?
Hint 3    For each parameter with a gradient: all_reduce(grad), then grad /= W.
Concept   understand/gradient-sync
Level     easy
Takes     4 s
"""

from __future__ import annotations

from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module) -> None:
    """Replace each gradient by its mean over all ranks, in place.

    Args:
        ranks: This process's rank and the number of ranks.
        model: The same on every rank; its gradients come from this rank's rows.
    """
    raise NotImplementedError("write it here")
