"""Treats zeros as padding, although a score may be 0.

Rejected  all scores, by rank
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, scores: torch.Tensor) -> torch.Tensor:
    longest = torch.tensor(len(scores))
    torch_dist.all_reduce(longest, op=torch_dist.ReduceOp.MAX)
    padded = scores.new_zeros(int(longest))
    padded[: len(scores)] = scores
    parts = [torch.empty_like(padded) for _ in range(ranks.world_size)]
    torch_dist.all_gather(parts, padded)
    gathered = torch.cat(parts)
    return gathered[gathered != 0]
