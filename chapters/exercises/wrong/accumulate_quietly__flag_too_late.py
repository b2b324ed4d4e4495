"""Puts only backward inside no_sync: forward has already prepared to synchronise.

Rejected  all-reduces: 4
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
    for number, batch in enumerate(micro_batches):
        loss = loss_of(model, batch) / len(micro_batches)
        if number < len(micro_batches) - 1:
            with model.no_sync():
                loss.backward()
        else:
            loss.backward()
