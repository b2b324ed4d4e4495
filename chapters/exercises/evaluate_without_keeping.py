"""Evaluate a model on many rows, in the memory of one batch.

Task      Each rank has some batches; their number differs between ranks. Write `solve`
          so that every rank returns the mean cross-entropy and the accuracy over the
          rows of all ranks.
Target    Correct on 2 ranks, in 1 collective; at most 2,000,000 bytes of tensors alive
          at once on any rank, of those that `solve` makes. The logits of one batch have
          256,000 bytes, those of all batches of a rank ten million and more.
Hint 1    What do you still need from a batch when the next one comes?
Hint 2    Three numbers: the sum of the losses, the number of correct rows, the number
          of rows. And what does autograd keep for each batch, unless you tell it that
          backward() will not be called?
Hint 3    `with torch.no_grad():` around the loop; `cross_entropy(..., reduction="sum")`
          and `.item()`; at the end one all_reduce of a float64 tensor with three
          elements.
Concept   understand/exact-evaluation
Level     medium
Takes     5 s
"""

from __future__ import annotations

import torch
from torch import nn

from distrinews import dist


def solve(
    ranks: dist.Ranks,
    model: nn.Module,
    batches: list[tuple[torch.Tensor, torch.Tensor]],
) -> tuple[float, float]:
    """Return mean loss and accuracy over the rows of all ranks, on every rank.

    Args:
        ranks: This process's rank and the number of ranks.
        model: Maps float32 [B, 16] to logits, float32 [B, 1000]; the same on all ranks.
        batches: This rank's: inputs [B, 16] and labels [B], of 1,000 classes.
    """
    raise NotImplementedError("write it here")
