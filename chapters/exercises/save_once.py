"""One checkpoint, two ranks, one disk.

Task      Write `solve` so that rank 0 saves the model's weights at `path`, and every
          rank then reads that file and returns its contents. At any time there must be
          no file at `path`, or a complete one.
Target    Right on 2 ranks; written by rank 0 only; keys without "module.".
Hint 1    When may rank 1 open the file?
Hint 2    `barrier()` makes the ranks wait for each other. And what does a reader see
          while rank 0 is in the middle of `torch.save`?
Hint 3    Save to another name in the same folder, `os.replace` it to `path`, then
          barrier on every rank, then `torch.load(path)`. Save the weights of
          `model.module`.
Concept   understand/checkpoint
Level     medium
Takes     5 s
"""

from __future__ import annotations

import pathlib

import torch
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist


def solve(
    ranks: dist.Ranks, model: DistributedDataParallel, path: pathlib.Path
) -> dict[str, torch.Tensor]:
    """Save the weights once and return the contents of the file, on every rank.

    Args:
        ranks: This process's rank and the number of ranks.
        model: The DDP wrapper.
        path: Does not exist yet.
    """
    raise NotImplementedError("write it here")
