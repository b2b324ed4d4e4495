"""Sends pickled objects.

Rejected  it sends objects
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, scores: torch.Tensor) -> torch.Tensor:
    everyone: list[Any] = [None] * ranks.world_size
    torch_dist.all_gather_object(everyone, scores)
    return torch.cat(everyone)
