"""Broadcast from rank 0 to all; every rank makes the call."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, value: torch.Tensor) -> float:
    # WHY no `if ranks.is_main`: the other ranks must call it to receive.
    torch_dist.broadcast(value, src=0)
    return value.item()
