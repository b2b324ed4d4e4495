"""Runs all micro-batches inside no_sync.

Rejected  the last backward did not average
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
        for batch in micro_batches:
            (loss_of(model, batch) / len(micro_batches)).backward()
