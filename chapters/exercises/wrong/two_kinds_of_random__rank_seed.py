"""Uses the rank's seed for everything.

Rejected  start from different weights
"""

from __future__ import annotations

import torch
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, seed: int) -> tuple[nn.Linear, torch.Tensor]:
    torch.manual_seed(seed + ranks.rank)
    return nn.Linear(4, 4), torch.rand(16) < 0.5
