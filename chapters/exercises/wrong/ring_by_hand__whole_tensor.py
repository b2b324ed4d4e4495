"""The whole tensor goes round: right, and W / 2 times the bytes.

Rejected  bytes sent by the busiest rank: 96; the target is 64
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, values: torch.Tensor) -> None:
    right = (ranks.rank + 1) % ranks.world_size
    left = (ranks.rank - 1) % ranks.world_size
    passing = values.clone()
    for _ in range(ranks.world_size - 1):
        come = torch.empty_like(passing)
        going = torch_dist.isend(passing, dst=right)
        torch_dist.recv(come, src=left)
        if going is not None:
            going.wait()
        values += come
        passing = come
