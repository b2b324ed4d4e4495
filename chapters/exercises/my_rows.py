"""Which rank reads which row? Every row once per epoch, without a single message.

Task      Write `solve` so that it returns the rows that this rank reads in an epoch:
          shuffled, in a different order in each epoch, every row on exactly one rank.
Target    Correct on 3 ranks for several epochs, without any collective.
Hint 1    How can processes that do not communicate agree on a shuffled order?
Hint 2    Generators with the same seed give the same permutation on every rank. What
          must the seed depend on, and what must it not depend on?
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
        ranks: This process's rank and the number of ranks.
        num_rows: N, a multiple of the number of ranks.
        seed: The same on every rank.
        epoch: Counted from 0.
    """
    raise NotImplementedError("write it here")
