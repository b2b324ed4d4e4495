"""Gather the lengths, then the scores padded to the longest, then cut."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, scores: torch.Tensor) -> torch.Tensor:
    length = torch.tensor([len(scores)])
    lengths = [torch.empty_like(length) for _ in range(ranks.world_size)]
    torch_dist.all_gather(lengths, length)
    sizes = [int(length) for length in lengths]
    padded = scores.new_zeros(max(sizes))
    padded[: len(scores)] = scores
    parts = [torch.empty_like(padded) for _ in sizes]
    torch_dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
