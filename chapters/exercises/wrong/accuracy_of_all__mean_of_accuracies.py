r"""Averages the ranks' accuracies.

Rejected  0\.5 on rank 0
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
    real = ~is_padding
    accuracy = (predicted == labels)[real].double().mean()
    torch_dist.all_reduce(accuracy)
    return (accuracy / ranks.world_size).item()
