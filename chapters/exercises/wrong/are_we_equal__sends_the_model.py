"""Broadcasts rank 0's model to compare.

Rejected  bytes given to collectives
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module) -> bool:
    same = True
    for value in model.state_dict().values():
        value_of_rank_0 = value.clone()
        torch_dist.broadcast(value_of_rank_0, src=0)
        same = same and torch.equal(value_of_rank_0, value)
    all_same = torch.tensor(int(same))
    torch_dist.all_reduce(all_same, op=torch_dist.ReduceOp.MIN)
    return bool(all_same)
