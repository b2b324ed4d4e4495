"""Decide from a number that is equal on every rank."""

from __future__ import annotations

import math

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, losses: list[float]) -> int:
    best = math.inf
    for epoch, loss in enumerate(losses):
        mean = torch.tensor(loss, dtype=torch.float64)
        torch_dist.all_reduce(mean)
        mean /= ranks.world_size
        if mean.item() >= best:  # the same on every rank, so all leave together
            return epoch
        best = mean.item()
    return len(losses)
