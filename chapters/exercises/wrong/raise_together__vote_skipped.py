"""Votes after load(): a failed rank never reaches the vote.

Rejected  had already left `solve`.*others were waiting in
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, load: Callable[[], int]) -> int:
    value = load()
    fine = torch.tensor(1)
    torch_dist.all_reduce(fine)
    if fine < ranks.world_size:
        raise ValueError("another rank could not load")
    return value
