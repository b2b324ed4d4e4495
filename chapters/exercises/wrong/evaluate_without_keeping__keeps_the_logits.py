"""Collects all logits, and looks at them at the end.

Rejected  bytes of tensors alive at once: .*The logits of earlier batches
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
    with torch.no_grad():
        logits = torch.cat([model(inputs) for inputs, _ in batches])
    labels = torch.cat([labels for _, labels in batches])
    total = torch.stack([
        F.cross_entropy(logits, labels, reduction="sum").double(),
        (logits.argmax(dim=1) == labels).double().sum(),
        torch.tensor(float(len(labels)), dtype=torch.float64),
    ])
    torch_dist.all_reduce(total)
    return (total[0] / total[2]).item(), (total[1] / total[2]).item()
