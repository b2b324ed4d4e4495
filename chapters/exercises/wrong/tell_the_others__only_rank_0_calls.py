"""Calls broadcast on rank 0 only; no other rank receives.

Rejected  rank 1 had already left `solve`.*others were waiting in: rank 0
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, value: torch.Tensor) -> float:
    if ranks.is_main:
        torch_dist.broadcast(value, src=0)
    return value.item()
