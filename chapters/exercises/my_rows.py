"""Who reads which row? Without a single message, every row once an epoch.

Task      Write `solve` so that it returns the rows that this rank reads in an epoch:
          shuffled, another order each epoch, every row on exactly one rank.
Target    Correct on 3 ranks for several epochs, without any collective.
Hint 1    How can processes that do not talk agree on a shuffled order?
Hint 2    A generator with the same seed gives the same permutation everywhere. What
          must be in the seed, and what must not?
Hint 3    `torch.randperm(num_rows, generator=g)` with `g` seeded with seed + epoch;
          then every W-th element, starting with the rank's own number.
Concept   understand/sharding
Level     easy
Takes     4 s
"""

from __future__ import annotations

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int, seed: int, epoch: int) -> list[int]:
    """Return this rank's rows of an epoch, in the order in which it reads them.

    Args:
        ranks: Who this process is.
        num_rows: N, a multiple of the number of ranks.
        seed: The same on every rank.
        epoch: Counted from 0.
    """
    raise NotImplementedError("write it here")
