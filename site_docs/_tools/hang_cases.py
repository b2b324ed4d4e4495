"""What the library says when a rank leaves out a call, for the widget <hang-view>.

The calls are invented, the sentences are `tracing.timeline.diagnose`'s.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from distrinews.tracing import timeline
from distrinews.tracing.timeline import Event

__all__ = ["hang_data", "hang_fixture"]

NUM_RANKS = 3
# Two steps: gradients meet in backward, then losses, then all wait for a checkpoint.
CALLS = (
    ("all_reduce", "train.py:21"),
    ("all_reduce", "train.py:24"),
    ("barrier", "train.py:30"),
) * 2


def hang_data() -> dict[str, Any]:
    """What the widget reads."""
    return {"ranks": NUM_RANKS, "calls": CALLS}


def hang_fixture() -> list[dict[str, Any]]:
    """What the widget's model has to answer.

    Returns:
        For nothing left out, and for each rank and call: how many calls meet, and the
        sentence about the trace.
    """
    cases: list[tuple[int, int | None]] = [(0, None)]
    cases += itertools.product(range(NUM_RANKS), range(len(CALLS)))
    return [_case(rank, left_out) for rank, left_out in cases]


def _case(rank: int, left_out: int | None) -> dict[str, Any]:
    by_rank: list[Sequence[tuple[str, str]]] = [CALLS] * NUM_RANKS
    if left_out is not None:
        by_rank[rank] = [*CALLS[:left_out], *CALLS[left_out + 1 :]]
    met = 0
    while all(len(calls) > met for calls in by_rank):
        if len({calls[met][0] for calls in by_rank}) > 1:
            break
        met += 1
    # The calls that met ended; who makes one more is still in it.
    events = {
        number: [
            Event(
                number,
                "collective",
                name,
                float(call),
                call + 0.5 if call < met else None,
                4,
                site,
            )
            for call, (name, site) in enumerate(calls[: met + 1])
        ]
        for number, calls in enumerate(by_rank)
    }
    says = timeline.diagnose(events, world_size=NUM_RANKS)
    return {"rank": rank, "left_out": left_out, "met": met, "says": says}
