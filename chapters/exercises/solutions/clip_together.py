"""Average first: then every rank computes the same norm, without communication."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module, max_norm: float) -> None:
    grads = [param.grad for param in model.parameters() if param.grad is not None]
    flat = torch.cat([grad.flatten() for grad in grads])
    torch_dist.all_reduce(flat)
    flat /= ranks.world_size
    # Equal on every rank, so its norm is, and so is the decision to clip.
    flat *= (max_norm / flat.norm()).clamp(max=1.0)
    for grad, part in zip(grads, flat.split([g.numel() for g in grads]), strict=True):
        grad.copy_(part.view_as(grad))
