"""Lets all ranks write.

Rejected  rank 1 writes the same file
"""

from __future__ import annotations

import os
import pathlib

import torch
import torch.distributed as torch_dist
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist


def solve(
    ranks: dist.Ranks, model: DistributedDataParallel, path: pathlib.Path
) -> dict[str, torch.Tensor]:
    draft = path.with_suffix(f".{ranks.rank}")
    torch.save(model.module.state_dict(), draft)
    os.replace(draft, path)
    torch_dist.barrier()
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return weights
