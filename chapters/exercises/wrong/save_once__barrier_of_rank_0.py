"""Calls the barrier inside the `if`.

Rejected  had already left `solve`|nothing made it wait|waited for it: rank 0
"""

from __future__ import annotations

import pathlib
import time

import torch
import torch.distributed as torch_dist
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist


def solve(
    ranks: dist.Ranks, model: DistributedDataParallel, path: pathlib.Path
) -> dict[str, torch.Tensor]:
    if ranks.is_main:
        torch.save(model.module.state_dict(), path)
        torch_dist.barrier()
    time.sleep(2)
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return weights
