"""Compute the same permutation on every rank; each rank takes every W-th row."""

from __future__ import annotations

import torch

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int, seed: int, epoch: int) -> list[int]:
    # WHY not the rank in the seed: all ranks must split the same permutation.
    generator = torch.Generator().manual_seed(seed + epoch)
    order = torch.randperm(num_rows, generator=generator)
    local_rows: list[int] = order[ranks.rank :: ranks.world_size].tolist()
    return local_rows
