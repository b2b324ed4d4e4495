r"""Divides the sum over all ranks by this rank's own count.

Rejected  24 on rank 0, 12 on rank 1, 4\.8 on rank 2; right is 3
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, losses: torch.Tensor) -> float:
    total = losses.sum()
    torch_dist.all_reduce(total)
    return (total / len(losses)).item()
