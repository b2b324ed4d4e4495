"""Sorts, and gives one rank the short half and the other one the long half.

Rejected  one rank waits for the other's longer rows
"""

from __future__ import annotations

from distrinews import dist


def solve(
    ranks: dist.Ranks, lengths: list[int], per_rank_batch_size: int
) -> list[list[int]]:
    by_length = sorted(range(len(lengths)), key=lambda row: lengths[row])
    half = len(by_length) // ranks.world_size
    local_rows = by_length[ranks.rank * half : (ranks.rank + 1) * half]
    return [
        local_rows[first : first + per_rank_batch_size]
        for first in range(0, len(local_rows), per_rank_batch_size)
    ]
