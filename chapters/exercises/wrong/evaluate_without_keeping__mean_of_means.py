"""Averages the ranks' means: one rank has more batches.

Rejected  mean loss and accuracy: .*means do not
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn import functional as F

from distrinews import dist


def solve(
    ranks: dist.Ranks,
    model: nn.Module,
    batches: list[tuple[torch.Tensor, torch.Tensor]],
) -> tuple[float, float]:
    means = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for inputs, labels in batches:
            logits = model(inputs)
            right = (logits.argmax(dim=1) == labels).double().mean()
            means += torch.stack([F.cross_entropy(logits, labels).double(), right])
    means /= len(batches)
    torch_dist.all_reduce(means)
    means /= ranks.world_size
    return means[0].item(), means[1].item()
