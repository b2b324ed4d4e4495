"""Gets the right result, but waits for all ranks twice.

Rejected  collectives: 2; the target is 1
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, losses: torch.Tensor) -> float:
    total, count = losses.sum(), torch.tensor(float(len(losses)))
    torch_dist.all_reduce(total)
    torch_dist.all_reduce(count)
    return (total / count).item()
