"""Calls one broadcast per tensor.

Rejected  collectives: 9; the target is 2
"""

from __future__ import annotations

import torch.distributed as torch_dist
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module) -> None:
    for tensor in model.state_dict().values():
        torch_dist.broadcast(tensor, src=0)
