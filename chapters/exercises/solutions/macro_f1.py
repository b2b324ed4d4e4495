"""Add up confusion matrices, and compute F1 from their sum."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist

NUM_CLASSES = 4


def solve(ranks: dist.Ranks, predicted: torch.Tensor, labels: torch.Tensor) -> float:
    cells = torch.bincount(labels * NUM_CLASSES + predicted, minlength=NUM_CLASSES**2)
    torch_dist.all_reduce(cells)  # int64: counts, exact on every rank
    matrix = cells.reshape(NUM_CLASSES, NUM_CLASSES).double()  # rows: true classes
    right = matrix.diagonal()
    denominator = matrix.sum(dim=0) + matrix.sum(dim=1)  # 2 TP + FP + FN
    f1 = torch.where(denominator > 0, 2 * right / denominator.clamp(min=1), 0.0)
    return f1.mean().item()
