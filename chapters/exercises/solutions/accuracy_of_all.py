"""Add up counts, and remove the padding before counting."""

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
    real = ~is_padding
    right = (predicted == labels) & real
    counts = torch.stack([right.sum(), real.sum()])  # int64 [2]
    torch_dist.all_reduce(counts)
    return (counts[0] / counts[1]).item()
