"""Four micro-batches, one meeting.

Task      Write `solve` so that the gradients of a DDP model become the mean over all
          micro-batches of all ranks, while the ranks meet only in the last backward.
Target    Right on 2 ranks, in as many all-reduces as one backward has buckets.
Hint 1    DDP averages in every backward. Which context manager keeps it quiet?
Hint 2    It looks at the flag when forward runs. And `.grad` adds up: what must each
          loss be divided by?
Hint 3    `with model.no_sync(): (loss_of(model, batch) / n).backward()` for all but the
          last; the last one outside.
Concept   understand/accumulation
Level     medium
Takes     4 s
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
    """Leave the mean gradient of all micro-batches of all ranks in `.grad`.

    Args:
        ranks: Who this process is.
        model: The DDP wrapper.
        micro_batches: Of this rank, all of one size.
        loss_of: Runs the model on a micro-batch; returns its mean loss.
    """
    raise NotImplementedError("write it here")
