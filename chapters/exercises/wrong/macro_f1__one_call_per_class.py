"""Gets the right result with one collective per class.

Rejected  collectives: 8; the target is 1
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, predicted: torch.Tensor, labels: torch.Tensor) -> float:
    f1 = []
    for label in range(4):
        right = ((predicted == label) & (labels == label)).sum()
        denominator = (predicted == label).sum() + (labels == label).sum()
        torch_dist.all_reduce(right)
        torch_dist.all_reduce(denominator)
        f1.append((2 * right / denominator.clamp(min=1)).item())
    return sum(f1) / len(f1)
