"""Broadcasts rank 0's decision from its own loss: all stop together, but too early.

Rejected  what rank 0's own losses say
"""

from __future__ import annotations

import math

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, losses: list[float]) -> int:
    best = math.inf
    for epoch, loss in enumerate(losses):
        stop = torch.tensor(int(loss >= best))
        torch_dist.broadcast(stop, src=0)
        if stop:
            return epoch
        best = min(best, loss)
    return len(losses)
