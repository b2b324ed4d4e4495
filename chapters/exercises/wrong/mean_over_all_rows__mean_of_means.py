"""Takes the mean of means: right only if all ranks hold the same number of rows.

Rejected  a mean of means gives a rank with one row
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, losses: torch.Tensor) -> float:
    mean = losses.mean()
    torch_dist.all_reduce(mean)
    return (mean / ranks.world_size).item()
