"""Reads each row once, but in other steps.

Rejected  the weights would differ
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
    left = order[num_steps * global_batch_size :]
    size = len(left) // ranks.world_size
    local_rows = left[ranks.rank * size : (ranks.rank + 1) * size]
    return (
        [part.tolist() for part in local_rows.split(share)] if len(local_rows) else []
    )
