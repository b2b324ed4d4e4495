"""Forgets the buffers.

Rejected  running_mean is not rank 0's
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module) -> None:
    params = list(model.parameters())
    flat = torch.cat([param.detach().flatten() for param in params])
    torch_dist.broadcast(flat, src=0)
    parts = flat.split([param.numel() for param in params])
    with torch.no_grad():
        for param, part in zip(params, parts, strict=True):
            param.copy_(part.view_as(param))
