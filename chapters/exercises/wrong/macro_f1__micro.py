r"""Computes the micro F1, which is the accuracy.

Rejected  the accuracy \(micro F1\)
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, predicted: torch.Tensor, labels: torch.Tensor) -> float:
    counts = torch.tensor([int((predicted == labels).sum()), len(labels)])
    torch_dist.all_reduce(counts)
    return (counts[0] / counts[1]).item()
