"""Broadcast rank 0's parameters and buffers, flattened."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module) -> None:
    tensors = list(model.state_dict().values())  # parameters and buffers, no copies
    for is_float in (True, False):
        group = [tensor for tensor in tensors if tensor.is_floating_point() == is_float]
        if not group:
            continue  # the same on every rank
        flat = torch.cat([tensor.flatten() for tensor in group])
        torch_dist.broadcast(flat, src=0)
        parts = flat.split([tensor.numel() for tensor in group])
        with torch.no_grad():
            for tensor, part in zip(group, parts, strict=True):
                tensor.copy_(part.view_as(tensor))
