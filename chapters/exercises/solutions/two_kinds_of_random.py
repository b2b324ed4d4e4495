"""Use one seed for what must be equal, and one per rank for what must differ."""

from __future__ import annotations

import torch
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, seed: int) -> tuple[nn.Linear, torch.Tensor]:
    torch.manual_seed(seed)
    layer = nn.Linear(4, 4)
    # After building: from here on the ranks' random numbers differ.
    torch.manual_seed(seed + 1 + ranks.rank)
    return layer, torch.rand(16) < 0.5
