"""Multiplies rank 0's own number: right only if all ranks have the same number of rows.

Rejected  6 rows on rank 0
"""

from __future__ import annotations

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int) -> str | None:
    return f"{num_rows * ranks.world_size} rows" if ranks.is_main else None
