"""Rank 0 writes a draft, renames it, and only then lets the others read."""

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
        os.replace(draft, path)  # at once: a reader sees all or nothing
    torch_dist.barrier()  # outside the `if`: it is the others that must wait
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return weights
