"""Appends only full buckets: the last one is never sent.

Rejected  send each one once
"""

from __future__ import annotations

from distrinews import dist


def solve(ranks: dist.Ranks, num_bytes: list[int], cap_bytes: int) -> list[list[int]]:
    buckets: list[list[int]] = []
    bucket: list[int] = []
    for number in reversed(range(len(num_bytes))):
        if bucket and sum(num_bytes[n] for n in bucket) + num_bytes[number] > cap_bytes:
            buckets.append(bucket)
            bucket = []
        bucket.append(number)
    return buckets or [bucket]
