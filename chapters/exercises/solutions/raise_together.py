"""Everybody tries, everybody votes, then all raise or none."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, load: Callable[[], int]) -> int:
    value, problem = 0, None
    try:
        value = load()
    except ValueError as error:
        problem = error
    failed = torch.tensor(int(problem is not None))
    torch_dist.all_reduce(failed)  # every rank, whatever happened to it
    if problem is not None:
        raise problem
    if failed > 0:
        raise ValueError(f"{int(failed)} other rank(s) could not load")
    return value
