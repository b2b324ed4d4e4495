"""Right, with a collective for each class.

Rejected  collectives: 8; the target is 1
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, predicted: torch.Tensor, labels: torch.Tensor) -> float:
    f1 = []
    for one in range(4):
        right = ((predicted == one) & (labels == one)).sum()
        told = (predicted == one).sum() + (labels == one).sum()
        torch_dist.all_reduce(right)
        torch_dist.all_reduce(told)
        f1.append((2 * right / told.clamp(min=1)).item())
    return sum(f1) / len(f1)
