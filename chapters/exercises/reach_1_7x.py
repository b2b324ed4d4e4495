"""Make two ranks reach 1.7x.

Task      A step costs what its longest row costs, times the rows: shorter rows are
          padded. And it is over when the slower rank is. Write `solve` so that it
          returns this rank's batches such that two ranks are at least 1.7 times as fast
          as one process that pads as little as it can.
Target    Each row once, `per_rank_batch_size` rows a batch, equally many batches on
          both ranks, no collective; 1.7 times as fast.
Hint 1    Which two losses are there: inside a batch, and between the ranks?
Hint 2    Sort by length; rows of like length share a batch. Then who gets which batch?
Hint 3    Cut the sorted rows into batches; deal them alternately: batch 2k to rank 0,
          batch 2k + 1 to rank 1. (In training the order of the steps is then shuffled.)
Concept   understand/stragglers-and-length-balance
Level     hard
Takes     4 s
"""

from __future__ import annotations

from distrinews import dist


def solve(
    ranks: dist.Ranks, lengths: list[int], per_rank_batch_size: int
) -> list[list[int]]:
    """Return this rank's batches of row numbers.

    Args:
        ranks: Who this process is.
        lengths: Tokens of each row, the same list on every rank. Their number is a
            multiple of per_rank_batch_size times the number of ranks.
        per_rank_batch_size: Rows of a batch.
    """
    raise NotImplementedError("write it here")
