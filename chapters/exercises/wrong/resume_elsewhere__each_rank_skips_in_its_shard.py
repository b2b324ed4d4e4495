"""Splits the epoch over the new ranks, but skips the old ranks' count.

Rejected  rows of the epoch are never read
"""

from __future__ import annotations

import torch

from distrinews import dist


def solve(
    ranks: dist.Ranks,
    num_rows: int,
    num_steps: int,
    *,
    global_batch_size: int,
    seed: int,
) -> list[list[int]]:
    order = torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))
    share = global_batch_size // ranks.world_size
    local_rows = order[ranks.rank :: ranks.world_size]
    num_read = num_steps * (global_batch_size // 2)  # by each of the two ranks before
    return [part.tolist() for part in local_rows[num_read:].split(share)]
