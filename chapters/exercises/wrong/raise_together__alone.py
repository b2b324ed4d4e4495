"""The failed rank raises at once.

Rejected  load failed on ranks .*went on as if
"""

from __future__ import annotations

from collections.abc import Callable

from distrinews import dist


def solve(ranks: dist.Ranks, load: Callable[[], int]) -> int:
    return load()
