"""Uses plain DDP: right, but it sends four times the bytes.

Rejected  all-reduces: 4; the target is 1
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
    for batch in micro_batches:
        (loss_of(model, batch) / len(micro_batches)).backward()
