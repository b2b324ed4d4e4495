"""Counts the padding rows.

Rejected  5 of 7
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
    right = (predicted == labels).sum()
    counts = torch.stack([right, torch.tensor(len(labels))])
    torch_dist.all_reduce(counts)
    return (counts[0] / counts[1]).item()
