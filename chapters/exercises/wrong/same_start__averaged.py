"""Averages all models: they are equal, but not rank 0's.

Rejected  0.weight is not rank 0's
"""

from __future__ import annotations

import torch.distributed as torch_dist
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module) -> None:
    for tensor in model.state_dict().values():
        torch_dist.all_reduce(tensor)
        if tensor.is_floating_point():
            tensor /= ranks.world_size
