"""Wrap forward and backward of all micro-batches but the last in no_sync."""

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
    share = len(micro_batches)
    with model.no_sync():
        for batch in micro_batches[:-1]:
            (loss_of(model, batch) / share).backward()
    # This sends the sum of all of them: `.grad` holds the earlier ones.
    (loss_of(model, micro_batches[-1]) / share).backward()
