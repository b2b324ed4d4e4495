"""Gathers all rows on all ranks to count them there.

Rejected  bytes given to them
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(
    ranks: dist.Ranks,
    predicted: torch.Tensor,
    labels: torch.Tensor,
    is_padding: torch.Tensor,
) -> float:
    local_rows = torch.full((2, 3), -1)
    real = ~is_padding
    local_rows[0, : int(real.sum())] = predicted[real]
    local_rows[1, : int(real.sum())] = labels[real]
    parts = [torch.empty_like(local_rows) for _ in range(ranks.world_size)]
    torch_dist.all_gather(parts, local_rows)
    all_rows = torch.cat(parts, dim=1)
    all_rows = all_rows[:, all_rows[0] >= 0]
    return (all_rows[0] == all_rows[1]).double().mean().item()
