"""Lets all ranks report.

Rejected  the line appears 8 times
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int) -> str | None:
    total = torch.tensor(num_rows)
    torch_dist.all_reduce(total)
    return f"{total.item()} rows"
