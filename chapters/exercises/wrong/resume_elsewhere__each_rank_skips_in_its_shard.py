"""Deals the epoch to the new ranks and skips the old ranks' count.

Rejected  come again|never read
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
    size = num_rows // ranks.world_size
    mine = order[ranks.rank * size : (ranks.rank + 1) * size]
    return [part.tolist() for part in mine[num_steps * share :].split(share)]
