"""Lets rank 0 shuffle and broadcast: right, but the message is not needed.

Rejected  collectives: 1; the target is 0
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed + epoch)
    order = torch.randperm(num_rows, generator=generator)
    torch_dist.broadcast(order, src=0)
    local_rows: list[int] = order[ranks.rank :: ranks.world_size].tolist()
    return local_rows
