"""Start, compute, wait: the all-reduce runs while this rank computes."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(
    ranks: dist.Ranks, values: torch.Tensor, compute: Callable[[], float]
) -> tuple[torch.Tensor, float]:
    work = torch_dist.all_reduce(values, async_op=True)
    computed = compute()
    if work is not None:  # None only for a rank outside the group
        work.wait()  # only now may you read `values`
    return values, computed
