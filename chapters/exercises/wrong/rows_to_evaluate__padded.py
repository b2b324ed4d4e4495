"""Pads to equal lengths, as DistributedSampler does.

Rejected  are counted twice
"""

from __future__ import annotations

from distrinews import dist


def solve(ranks: dist.Ranks, num_rows: int) -> list[int]:
    size = -(-num_rows // ranks.world_size)
    rows = [row % num_rows for row in range(size * ranks.world_size)]
    return rows[ranks.rank :: ranks.world_size]
