"""Splits the rows in their original order.

Rejected  most of them padding
"""

from __future__ import annotations

from distrinews import dist


def solve(
    ranks: dist.Ranks, lengths: list[int], per_rank_batch_size: int
) -> list[list[int]]:
    local_rows = list(range(ranks.rank, len(lengths), ranks.world_size))
    return [
        local_rows[first : first + per_rank_batch_size]
        for first in range(0, len(local_rows), per_rank_batch_size)
    ]
