"""Parameters and buffers, rank 0's, flattened into one broadcast."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module) -> None:
    tensors = list(model.state_dict().values())  # parameters and buffers, no copies
    for is_float in (True, False):
        part = [one for one in tensors if one.is_floating_point() == is_float]
        if not part:
            continue  # the same on every rank
        flat = torch.cat([one.flatten() for one in part])
        torch_dist.broadcast(flat, src=0)
        pieces = flat.split([one.numel() for one in part])
        with torch.no_grad():
            for one, piece in zip(part, pieces, strict=True):
                one.copy_(piece.view_as(one))
