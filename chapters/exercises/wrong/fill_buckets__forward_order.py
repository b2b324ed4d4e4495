"""Fills the buckets from the first layer on.

Rejected  waits for parameter 0
"""

from __future__ import annotations

from distrinews import dist


def solve(ranks: dist.Ranks, num_bytes: list[int], cap_bytes: int) -> list[list[int]]:
    buckets: list[list[int]] = [[]]
    filled = 0
    for number in range(len(num_bytes)):
        if buckets[-1] and filled + num_bytes[number] > cap_bytes:
            buckets.append([])
            filled = 0
        buckets[-1].append(number)
        filled += num_bytes[number]
    return buckets
