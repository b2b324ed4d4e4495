"""Leaves the epoch out of the seed.

Rejected  a forgotten set_epoch
"""

from __future__ import annotations

import torch

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_rows, generator=generator)
    local_rows: list[int] = order[ranks.rank :: ranks.world_size].tolist()
    return local_rows
