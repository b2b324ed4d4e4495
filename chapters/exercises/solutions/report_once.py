"""Call the collective on every rank; only rank 0 uses the result."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int) -> str | None:
    total = torch.tensor(num_rows)
    torch_dist.reduce(total, dst=0)  # on every rank: each one contributes
    if not ranks.is_main:
        return None  # the value of `total` is undefined here
    return f"{total.item()} rows"
