"""Calls one collective per parameter.

Rejected  collectives: 12; the target is 1
"""

from __future__ import annotations

import torch.distributed as torch_dist
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module) -> None:
    for param in model.parameters():
        if param.grad is not None:
            torch_dist.all_reduce(param.grad)
            param.grad /= ranks.world_size
