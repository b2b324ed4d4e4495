"""Returns the tensor before the all-reduce has finished.

Rejected  the sum: .*Until wait
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(
    ranks: dist.Ranks, values: torch.Tensor, compute: Callable[[], float]
) -> tuple[torch.Tensor, float]:
    torch_dist.all_reduce(values, async_op=True)
    return values, compute()
