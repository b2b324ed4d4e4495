"""Send sum and count together, and divide at the end."""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, losses: torch.Tensor) -> float:
    # float64, because a long sum of float32 numbers loses digits.
    total = torch.stack([losses.double().sum(), torch.tensor(float(len(losses)))])
    torch_dist.all_reduce(total)
    return (total[0] / total[1]).item()
