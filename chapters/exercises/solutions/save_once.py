"""Rank 0 writes a draft and renames it; only then do the others read."""

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
    if ranks.is_main:
        draft = path.with_suffix(".draft")
        torch.save(model.module.state_dict(), draft)
        os.replace(draft, path)  # atomic: a reader sees the whole file or none
    torch_dist.barrier()  # outside the `if`: the other ranks must wait
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return weights
