"""Four micro-batches, one synchronisation.

Task      Write `solve` so that the gradients of a DDP model become the mean over all
          micro-batches of all ranks, while the ranks communicate only in the last
          backward.
Target    Right on 2 ranks, in as many all-reduces as one backward has buckets.
Hint 1    DDP averages in every backward. Which context manager prevents that?
Hint 2    DDP reads the flag when forward runs. And `.grad` accumulates: by what must
          you divide each loss?
Hint 3    `with model.no_sync(): (loss_of(model, batch) / n).backward()` for all
          micro-batches but the last, and the last one outside it.
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
        ranks: This process's rank and the number of ranks.
        model: The DDP wrapper.
        micro_batches: This rank's micro-batches, all of the same size.
        loss_of: Runs the model on a micro-batch; returns its mean loss.
    """
    raise NotImplementedError("write it here")
