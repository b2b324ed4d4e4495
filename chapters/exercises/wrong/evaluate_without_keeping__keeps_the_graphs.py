"""Adds up losses that still carry their graph.

Rejected  bytes of tensors alive at once: .*Autograd keeps
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
    loss = torch.zeros((), dtype=torch.float64)
    right, num_rows = 0, 0
    for inputs, labels in batches:
        logits = model(inputs)
        loss = loss + F.cross_entropy(logits, labels, reduction="sum")
        right += int((logits.argmax(dim=1) == labels).sum())
        num_rows += len(labels)
    total = torch.stack([
        loss.detach(),
        torch.tensor(float(right), dtype=torch.float64),
        torch.tensor(float(num_rows), dtype=torch.float64),
    ])
    torch_dist.all_reduce(total)
    return (total[0] / total[2]).item(), (total[1] / total[2]).item()
