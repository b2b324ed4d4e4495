"""Takes the mask's seed from the clock.

Rejected  a second run with the same seed
"""

from __future__ import annotations

import time

import torch
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, seed: int) -> tuple[nn.Linear, torch.Tensor]:
    torch.manual_seed(seed)
    layer = nn.Linear(4, 4)
    torch.manual_seed(time.time_ns() + ranks.rank)
    return layer, torch.rand(16) < 0.5
