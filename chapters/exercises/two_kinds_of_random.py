"""Equal weights, different noise.

Task      Write `solve` so that it returns a new `nn.Linear(4, 4)`, with equal weights
          on every rank, and a dropout mask of 16 numbers that differs from rank to
          rank. Both must be the same in every run with the same seed.
Target    Right on 2 ranks, without any collective.
Hint 1    What do two ranks with the same dropout mask do twice?
Hint 2    Seed once for the weights, the same on all ranks; then seed again before the
          mask.
Hint 3    `torch.manual_seed(seed)`, build; `torch.manual_seed(seed + 1 + ranks.rank)`,
          draw.
Concept   understand/randomness
Level     easy
Takes     4 s
"""

from __future__ import annotations

import torch
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, seed: int) -> tuple[nn.Linear, torch.Tensor]:
    """Return a layer with equal weights, and a mask for this rank only.

    Args:
        ranks: This process's rank and the number of ranks.
        seed: The same on every rank.

    Returns:
        The layer, and a bool tensor [16].
    """
    raise NotImplementedError("write it here")
