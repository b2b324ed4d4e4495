"""The test rows are not a multiple of the number of ranks. Count every row once.

Task      Write `solve` so that it returns the rows that this rank evaluates: each row
          on exactly one rank, shared as evenly as possible.
Target    Correct on 3 ranks for 10, 11, 12 and 2 rows, without any collective.
Hint 1    DistributedSampler makes all shards equally long. How?
Hint 2    Evaluation has no gradients to average: the ranks may take different numbers
          of steps.
Hint 3    `range(ranks.rank, num_rows, ranks.world_size)`.
Concept   understand/exact-evaluation
Level     easy
Takes     4 s
"""

from __future__ import annotations

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int) -> list[int]:
    """Return the rows that this rank evaluates.

    Args:
        ranks: This process's rank and the number of ranks.
        num_rows: N; need not be a multiple of the number of ranks.
    """
    raise NotImplementedError("write it here")
