"""How good is the model on all rows? Some of the rows are there twice.

Task      Each rank holds predictions and labels of its rows; a mask marks those that
          only fill up a batch. Write `solve` so that every rank returns the share of
          right predictions over the real rows of all ranks.
Target    Correct on 3 ranks, in 1 collective, with at most 16 bytes.
Hint 1    Which two counts does an accuracy consist of?
Hint 2    Leave the padding out before you count, and divide after all have added up.
Hint 3    An int64 tensor of two elements: right and real rows. One all_reduce.
Concept   understand/exact-evaluation
Level     easy
Takes     4 s
"""

from __future__ import annotations

import torch

from distrinews import dist


def solve(
    ranks: dist.Ranks,
    predicted: torch.Tensor,
    labels: torch.Tensor,
    is_padding: torch.Tensor,
) -> float:
    """Return the accuracy over the real rows of all ranks, on every rank.

    Args:
        ranks: Who this process is.
        predicted: int64 [N], classes.
        labels: int64 [N], classes.
        is_padding: bool [N], True for a row that another rank counts already.
    """
    raise NotImplementedError("write it here")
