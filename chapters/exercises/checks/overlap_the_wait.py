"""The check of overlap_the_wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as torch_dist

from distrinews.course import exercises

TRAVELS_S, COMPUTES_S = 0.9, 0.6
LIMIT_S = 1.2  # halfway between both at once and one after the other

send = torch_dist.all_reduce


class SlowWork(torch_dist.Work):
    """An all-reduce that finishes later, in its own thread."""

    def __init__(self, travel: Callable[[], torch.Tensor]) -> None:
        super().__init__()
        self._arrived: torch.futures.Future[list[torch.Tensor]] = torch.futures.Future()
        self._thread = threading.Thread(target=self._arrive, args=(travel,))
        self._thread.start()

    def _arrive(self, travel: Callable[[], torch.Tensor]) -> None:
        try:
            self._arrived.set_result([travel()])
        except Exception as error:  # whatever it was, `wait` raises it
            failed: Any = error  # torch's own annotation knows values only
            self._arrived.set_exception(failed)

    def wait(self, *_: object) -> bool:
        """Wait until it has finished."""
        self._thread.join()
        self._arrived.wait()
        return True

    def is_completed(self) -> bool:
        """Whether it has finished."""
        return not self._thread.is_alive()

    def get_future(self) -> Any:
        """For the recorder."""
        return self._arrived


def check(harness: exercises.Harness) -> None:
    works: list[SlowWork] = []
    calls: list[float] = []

    def slowly(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> SlowWork | None:
        in_background = kwargs.pop("async_op", False)

        def travel() -> torch.Tensor:
            # A copy, so that `solve` sees the old numbers and never half a sum.
            value = tensor.clone()
            time.sleep(TRAVELS_S)
            send(value, *args, **kwargs)
            return tensor.copy_(value)

        works.append(SlowWork(travel))
        if in_background:
            return works[-1]
        works[-1].wait()
        return None

    def compute() -> float:
        with harness.phase("compute"):
            calls.append(time.perf_counter())
            time.sleep(COMPUTES_S)
        return 42.0 + harness.ranks.rank

    values = torch.tensor([1.0, 10.0]) * (1 + harness.ranks.rank)
    torch_dist.all_reduce = slowly
    try:
        (total, own), trace = harness.run(values, compute)
        # WHY a copy at once: a sum that arrives after `solve` has returned is too late.
        total = total.clone()
    finally:
        torch_dist.all_reduce = send
        for work in works:  # the next solution must start with nothing under way
            work.wait()
    harness.reject_if(len(calls) != 1, f"compute() was called {len(calls)} times.")
    harness.expect("what compute() returned", own, want=42.0 + harness.ranks.rank)
    harness.expect(
        "the sum",
        total,
        want=torch.tensor([3.0, 30.0]),
        why="Until wait() returns, the tensor still holds its old values.",
    )
    harness.at_most(
        "all-reduces", trace.calls(), limit=1, why="One sum needs one all-reduce."
    )
    [began_s] = [event.start_s for event in trace.events if event.kind == "collective"]
    harness.at_most(
        "seconds of the slowest rank",
        round(trace.seconds, 2),
        limit=LIMIT_S,
        why="The all-reduce starts after compute(): nothing overlaps."
        if began_s > COMPUTES_S / 2
        else "Nothing is computed while it runs: start it with async_op=True, and "
        "wait for it only when you need the sum.",
    )


EXERCISE = exercises.Exercise(check=check)
