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
    told = torch.zeros(2, dtype=torch.float64)
    with torch.no_grad():
        for inputs, labels in batches:
            logits = model(inputs)
            right = (logits.argmax(dim=1) == labels).double().mean()
            told += torch.stack([F.cross_entropy(logits, labels).double(), right])
    told /= len(batches)
    torch_dist.all_reduce(told)
    told /= ranks.world_size
    return told[0].item(), told[1].item()
