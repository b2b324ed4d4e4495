"""Splits first and shuffles afterwards: no rank ever sees the others' rows.

Rejected  the same rows in every epoch
"""

from __future__ import annotations

import torch

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int, seed: int, epoch: int) -> list[int]:
    size = num_rows // ranks.world_size
    generator = torch.Generator().manual_seed(seed + epoch)
    order = torch.randperm(size, generator=generator) + ranks.rank * size
    local_rows: list[int] = order.tolist()
    return local_rows
