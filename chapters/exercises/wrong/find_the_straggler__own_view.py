"""Returns this rank as the slowest, on every rank.

Rejected  slowest rank: 0 on rank 0, 1 on rank 1
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, step_s: torch.Tensor) -> tuple[int, float]:
    total = step_s.sum()
    torch_dist.all_reduce(total)
    return ranks.rank, 1 - (total / (3 * 7.0)).item()
