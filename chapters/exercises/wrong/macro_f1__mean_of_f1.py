"""Averages the ranks' macro F1.

Rejected  The mean of the ranks' F1 is another number
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, predicted: torch.Tensor, labels: torch.Tensor) -> float:
    cells = torch.bincount(labels * 4 + predicted, minlength=16)
    matrix = cells.reshape(4, 4).double()
    denominator = matrix.sum(dim=0) + matrix.sum(dim=1)
    f1 = (2 * matrix.diagonal() / denominator.clamp(min=1)).mean()
    torch_dist.all_reduce(f1)
    return (f1 / ranks.world_size).item()
