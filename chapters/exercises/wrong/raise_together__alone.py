"""Raises at once on the failed rank.

Rejected  load failed on ranks .*continued as
"""

from __future__ import annotations

from collections.abc import Callable

from distrinews import dist


def solve(ranks: dist.Ranks, load: Callable[[], int]) -> int:
    return load()
