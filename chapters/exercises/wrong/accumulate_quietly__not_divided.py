"""Forgets that gradients accumulate.

Rejected  4 times too large
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist


def solve(
    ranks: dist.Ranks,
    model: DistributedDataParallel,
    micro_batches: list[torch.Tensor],
    loss_of: Callable[[nn.Module, torch.Tensor], torch.Tensor],
) -> None:
    with model.no_sync():
        for batch in micro_batches[:-1]:
            loss_of(model, batch).backward()
    loss_of(model, micro_batches[-1]).backward()
