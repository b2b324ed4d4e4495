"""Make two ranks reach 1.7x.

Task      A batch costs as much as its longest row times the number of rows, because
          shorter rows are padded. And a step lasts as long as its slower rank. Write
          `solve` so that it returns this rank's batches, and two ranks are at least 1.7
          times as fast as one process that pads as little as it can.
Target    Each row once, `per_rank_batch_size` rows per batch, the same number of
          batches on both ranks, no collective; 1.7 times as fast.
Hint 1    Where is time wasted inside a batch, and where between the ranks?
Hint 2    Sort by length, so that rows of similar length share a batch. Then which rank
          gets which batch?
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
        ranks: This process's rank and the number of ranks.
        lengths: Tokens of each row, the same list on every rank. Their number is a
            multiple of per_rank_batch_size times the number of ranks.
        per_rank_batch_size: Rows per batch.
    """
    raise NotImplementedError("write it here")
