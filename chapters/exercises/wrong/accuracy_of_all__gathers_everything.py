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
    mine = torch.full((2, 3), -1)
    real = ~is_padding
    mine[0, : int(real.sum())] = predicted[real]
    mine[1, : int(real.sum())] = labels[real]
    parts = [torch.empty_like(mine) for _ in range(ranks.world_size)]
    torch_dist.all_gather(parts, mine)
    both = torch.cat(parts, dim=1)
    both = both[:, both[0] >= 0]
    return (both[0] == both[1]).double().mean().item()
