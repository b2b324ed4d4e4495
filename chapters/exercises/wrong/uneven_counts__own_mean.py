"""Returns each rank's own mean: right only for equal counts.

Rejected  weigh as much as rank 0's six
"""

from __future__ import annotations

import torch

from distrinews import dist


def solve(ranks: dist.Ranks, losses: torch.Tensor) -> torch.Tensor:
    return losses.mean()
