"""Opens the file on rank 1 without waiting.

Rejected  nothing made it wait
"""

from __future__ import annotations

import pathlib

import torch
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist


def solve(
    ranks: dist.Ranks, model: DistributedDataParallel, path: pathlib.Path
) -> dict[str, torch.Tensor]:
    if ranks.is_main:
        torch.save(model.module.state_dict(), path)
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return weights
