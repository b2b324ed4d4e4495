"""Every rank tries, every rank votes, then all raise or none does."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, load: Callable[[], int]) -> int:
    value, failure = 0, None
    try:
        value = load()
    except ValueError as error:
        failure = error
    failed = torch.tensor(int(failure is not None))
    torch_dist.all_reduce(failed)  # every rank, whatever happened to it
    if failure is not None:
        raise failure
    if failed > 0:
        raise ValueError(f"load() failed on {int(failed)} of the ranks")
    return value
