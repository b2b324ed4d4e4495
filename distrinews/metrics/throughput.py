"""Measure training speed: rows per second over all ranks, step times, memory.

A rate counts the rows of all ranks and the time of the slowest rank, because the others
wait for it.

Not here: the model's accuracy (`distrinews.metrics`).

Guide: understand/performance.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Generator

import torch

from distrinews import dist
from distrinews.dist import Ranks
from distrinews.system import machine

__all__ = ["Throughput"]


class Throughput:
    """A timer around training steps.

    Args:
        ranks: This process and the device of its replica.

    Attributes:
        steps_ms: Milliseconds of each step on this rank.
        num_rows: Rows of these steps on this rank.

    Examples:
        >>> throughput = Throughput(Ranks(0, 0, 1, torch.device("cpu")))
        >>> with throughput.step(num_rows=32):
        ...     pass  # forward, backward, optimizer
        >>> throughput.summary()["num_rows"]
        32
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.steps_ms: list[float] = []
        self.num_rows = 0

    @contextlib.contextmanager
    def step(self, *, num_rows: int) -> Generator[None, None, None]:
        """Time one step. Local: no rank waits for another.

        A step that raises is not counted.

        Args:
            num_rows: This rank's rows in the step.

        Yields:
            None.
        """
        self._wait_for_device()
        start_s = time.perf_counter()
        yield
        self._wait_for_device()
        self.steps_ms.append((time.perf_counter() - start_s) * 1000)
        self.num_rows += num_rows

    def summary(self) -> dict[str, float]:
        """Combine the figures of all ranks.

        Collective: every rank must call it.

        Returns:
            `num_rows` of all ranks; `seconds` of the slowest rank's steps;
            `samples_per_s`, the former divided by the latter; `median_step_ms` and
            `slowest_step_ms`, of the rank where they are largest; `peak_memory_bytes`,
            of the rank that needs most, on the GPU if it has one. Zeros if no step was
            taken.

        Note:
            Cost: one small all-gather.
        """
        local_stats = (
            self.num_rows,
            sum(self.steps_ms) / 1000,
            statistics.median(self.steps_ms or [0.0]),
            max(self.steps_ms, default=0.0),
            machine.peak_memory_bytes(self.ranks.device),
        )
        rows, seconds, medians, longest, memory = zip(
            *dist.gather_objects(local_stats), strict=True
        )
        slowest_s = max(seconds)
        return {
            "num_rows": sum(rows),
            "seconds": slowest_s,
            "samples_per_s": sum(rows) / slowest_s if slowest_s else 0.0,
            "median_step_ms": max(medians),
            "slowest_step_ms": max(longest),
            "peak_memory_bytes": max(memory),
        }

    def _wait_for_device(self) -> None:
        # A GPU works in the background: without this the timer would only measure how
        # long it takes to queue the work.
        if self.ranks.device.type == "cuda":
            torch.cuda.synchronize(self.ranks.device)
