"""How good is the model on all rows? Some rows occur twice.

Task      Each rank holds predictions and labels of its rows; a mask marks the rows that
          only pad a batch. Write `solve` so that every rank returns the fraction of
          correct predictions over the real rows of all ranks.
Target    Correct on 3 ranks, in 1 collective, with at most 16 bytes.
Hint 1    Which two counts make up an accuracy?
Hint 2    Remove the padding before you count, and divide after the ranks have added up
          their counts.
Hint 3    An int64 tensor with two elements, the correct rows and the real rows, and one
          all_reduce.
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
        ranks: This process's rank and the number of ranks.
        predicted: int64 [N], classes.
        labels: int64 [N], classes.
        is_padding: bool [N], True for a row that another rank already counts.
    """
    raise NotImplementedError("write it here")
