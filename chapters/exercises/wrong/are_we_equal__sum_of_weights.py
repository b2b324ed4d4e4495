"""Compares the sums of the weights.

Rejected  drift: (one weight, by a hair|two weights swapped): True
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module) -> bool:
    tensors = model.state_dict().values()
    total = torch.stack([tensor.double().sum() for tensor in tensors]).sum()
    least, most = total.clone(), total.clone()
    torch_dist.all_reduce(least, op=torch_dist.ReduceOp.MIN)
    torch_dist.all_reduce(most, op=torch_dist.ReduceOp.MAX)
    return bool((most - least).abs() < 1e-9)
