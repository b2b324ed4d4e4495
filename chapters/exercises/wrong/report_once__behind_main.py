"""Calls the collective inside `if ranks.is_main`: rank 0 waits forever.

Rejected  rank 1 had already left `solve`.*others were waiting in: rank 0
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int) -> str | None:
    if ranks.is_main:
        total = torch.tensor(num_rows)
        torch_dist.all_reduce(total)
        return f"{total.item()} rows"
    return None
