"""Compare a hash of all bytes: sending sixteen bytes is enough."""

from __future__ import annotations

import hashlib

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module) -> bool:
    digest = hashlib.sha256()
    for value in model.state_dict().values():  # parameters and buffers
        digest.update(value.detach().cpu().numpy().tobytes())
    number = int.from_bytes(digest.digest()[:8], "little", signed=True)
    least, most = torch.tensor(number), torch.tensor(number)
    torch_dist.all_reduce(least, op=torch_dist.ReduceOp.MIN)
    torch_dist.all_reduce(most, op=torch_dist.ReduceOp.MAX)
    return bool(least == most)
