"""Drops the last rows, like drop_last=True.

Rejected  are never evaluated
"""

from __future__ import annotations

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int) -> list[int]:
    size = num_rows // ranks.world_size
    return list(range(ranks.rank * size, (ranks.rank + 1) * size))
