"""The test set does not divide by the number of ranks. Count every row once.

Task      Write `solve` so that it returns the rows that this rank evaluates: over all
          ranks each row exactly once, shared as evenly as can be.
Target    Correct on 3 ranks for 10, 11, 12 and 2 rows, without any collective.
Hint 1    DistributedSampler makes all shards equally long. What does it do for that?
Hint 2    Evaluation has no gradients to average: the ranks may take unequal numbers of
          steps.
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
        ranks: Who this process is.
        num_rows: N; need not divide by the number of ranks.
    """
    raise NotImplementedError("write it here")
