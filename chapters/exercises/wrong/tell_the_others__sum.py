"""Uses all_reduce, which also reaches every rank but adds what the others hold.

Rejected  what rank 0 decided: 208 on rank 0, 208 on rank 1, 208 on rank 2; right is 7
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, value: torch.Tensor) -> float:
    torch_dist.all_reduce(value)
    return value.item()
