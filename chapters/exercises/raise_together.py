"""One rank cannot read its file. What do the others do?

Task      `load()` may raise ValueError on any rank. Write `solve` so that it returns
          what load() returned, or raises ValueError on every rank if it raised on any.
Target    Right on 2 ranks in 1 collective, whichever rank fails.
Hint 1    A rank that raises alone leaves the others in their next collective. What must
          every rank know before any rank raises?
Hint 2    Catch the error, count the failed ranks with an all_reduce, then raise.
Hint 3    Put the all_reduce outside `try`: every rank must reach it exactly once.
Concept   understand/failures
Level     medium
Takes     5 s
"""

from __future__ import annotations

from collections.abc import Callable

from distrinews import dist


def solve(ranks: dist.Ranks, load: Callable[[], int]) -> int:
    """Return load()'s value, or raise ValueError on every rank.

    Args:
        ranks: This process's rank and the number of ranks.
        load: Returns this rank's value, or raises ValueError.
    """
    raise NotImplementedError("write it here")
