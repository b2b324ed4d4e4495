r"""Gives all remaining rows to the last rank.

Rejected  the ranks get \[3, 3, 5\] rows
"""

from __future__ import annotations

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int) -> list[int]:
    size = num_rows // ranks.world_size
    end = num_rows if ranks.rank == ranks.world_size - 1 else (ranks.rank + 1) * size
    return list(range(ranks.rank * size, end))
