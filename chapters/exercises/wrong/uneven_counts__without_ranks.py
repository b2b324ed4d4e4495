"""Returns this rank's part of the mean, and DDP divides it again.

Rejected  half of what it should be
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(ranks: dist.Ranks, losses: torch.Tensor) -> torch.Tensor:
    num_rows = torch.tensor(len(losses))
    torch_dist.all_reduce(num_rows)
    return losses.sum() / num_rows
