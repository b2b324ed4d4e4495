r"""Misreads the sum: raises although no rank failed.

Rejected  raises although load\(\) worked
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, load: Callable[[], int]) -> int:
    value, fine = 0, torch.tensor(1)
    try:
        value = load()
    except ValueError:
        fine = torch.tensor(0)
    torch_dist.all_reduce(fine)
    if fine != 1:
        raise ValueError("another rank could not load")
    return value
