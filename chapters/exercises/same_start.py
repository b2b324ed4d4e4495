"""Averaging keeps equal replicas equal. What makes them equal?

Task      The ranks have built models with different weights and different running
          statistics. Write `solve` so that all ranks hold rank 0's values.
Target    Every parameter and every buffer equal to rank 0's, on 3 ranks, in 2
          collectives at most.
Hint 1    What does DDP do when it is built?
Hint 2    A model is more than its parameters: BatchNorm's means are buffers. One of its
          buffers counts batches and is an integer.
Hint 3    Flatten all float tensors into one and all integers into another; broadcast
          both; copy back under `torch.no_grad()`.
Concept   understand/ddp-inside
Level     medium
Takes     4 s
"""

from __future__ import annotations

from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module) -> None:
    """Make parameters and buffers of every rank equal to those of rank 0.

    Args:
        ranks: This process's rank and the number of ranks.
        model: The same architecture on every rank, with different values.
    """
    raise NotImplementedError("write it here")
