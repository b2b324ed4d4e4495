"""Sends the whole tensor around the ring: right, but W / 2 times the bytes.

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
        received = torch.empty_like(passing)
        work = torch_dist.isend(passing, dst=right)
        torch_dist.recv(received, src=left)
        if work is not None:
            work.wait()
        values += received
        passing = received
