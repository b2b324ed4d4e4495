"""Leaves the loop because of its own loss, before the collective of that epoch.

Rejected  had already left `solve`.*others were waiting in
"""

from __future__ import annotations

import math

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, losses: list[float]) -> int:
    best = math.inf
    for epoch, loss in enumerate(losses):
        if loss >= best:
            return epoch
        mean = torch.tensor(loss)
        torch_dist.all_reduce(mean)
        best = min(best, loss)
    return len(losses)
