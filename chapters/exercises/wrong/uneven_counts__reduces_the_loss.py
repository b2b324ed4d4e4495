r"""Averages the values of the losses: no gradient passes through all_reduce.

Rejected  that backward\(\) can start from
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, losses: torch.Tensor) -> torch.Tensor:
    total = torch.stack([losses.detach().sum(), torch.tensor(float(len(losses)))])
    torch_dist.all_reduce(total)
    return total[0] / total[1]
