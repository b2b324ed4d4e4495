"""Gather every rank's step times; the slowest rank sets each step's duration."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, step_s: torch.Tensor) -> tuple[int, float]:
    parts = [torch.empty_like(step_s) for _ in range(ranks.world_size)]
    torch_dist.all_gather(parts, step_s)
    times = torch.stack(parts)  # [W, S]
    slowest = int(times.sum(dim=1).argmax())
    paid = ranks.world_size * times.max(dim=0).values.sum()
    return slowest, 1 - (times.sum() / paid).item()
