"""Let requests that come one by one share the model's time in batches.

Promise: one thread runs the model. While it computes, what arrives waits in a bounded
queue, and the next batch takes as much of it as a token budget allows. An item leaves
the queue when its deadline passes or its caller disconnects. Items that the queue
cannot serve in time are rejected at once, with the time after which to try again. No
client fills the queue alone, and clients take turns in a batch. One bad item never
fails its neighbours.

Not here: HTTP (`apps/api.py`), the model
(`distrinews.inference.classifier`). Nothing of this needs torch.

Letters used for shapes: B = items.
Guide: howto/serve.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import math
import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = [
    "BatchStats",
    "Batcher",
    "ClosedError",
    "Limits",
    "OverloadedError",
    "ThroughputEstimator",
]

# Weight of the newest batch in the moving average of the throughput. With a fifth, the
# average follows a change of load within about ten batches, and a single slow batch
# does not make the queue reject everybody.
EMA_WEIGHT = 0.2


class OverloadedError(Exception):
    """The queue is full. Not the caller's mistake: it may try again.

    Args:
        retry_after_s: When what waits now will have been served, by measured speed.
    """

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"no place in the queue; come back in {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class ClosedError(Exception):
    """The batcher takes nothing more: the process is about to end."""


@dataclass(frozen=True)
class Limits:
    """What a batcher takes on.

    Attributes:
        max_batch_tokens: A batch is full when its items have this many tokens in total.
        max_batch_items: A batch is also full when it holds this many items.
        max_wait_ms: After a batch, wait so long for those it answered to ask again;
            pays where a batch takes hardly longer than an item. An idle machine never
            waits.
        max_waiting: Items in the queue; one more is refused. A client alone gets half
            of them, one of two clients a third, and so on.
        deadline_s: From entering the queue to the answer.

    Examples:
        >>> Limits(max_waiting=4).deadline_s
        10.0
    """

    max_batch_tokens: int = 2048
    max_batch_items: int = 64
    max_wait_ms: float = 0.0
    max_waiting: int = 128
    deadline_s: float = 10.0


class ThroughputEstimator:
    """A moving average of the model's throughput, in tokens per second.

    Args:
        limits: The size of a full batch, and the deadline.

    Examples:
        >>> throughput = ThroughputEstimator(Limits(max_batch_tokens=100))
        >>> throughput.update(100, took_s=0.5)
        >>> throughput.estimate_s(400)
        2.0
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tokens_per_s: float | None = None

    def update(self, num_tokens: int, *, took_s: float) -> None:
        """Take a batch into account.

        Args:
            num_tokens: Its tokens.
            took_s: What the model took for it.
        """
        tokens_per_s = num_tokens / max(took_s, 1e-6)
        average = self._tokens_per_s or tokens_per_s
        # A small batch says little about how fast full ones are.
        weight = EMA_WEIGHT * min(1.0, num_tokens / self._limits.max_batch_tokens)
        self._tokens_per_s = (1 - weight) * average + weight * tokens_per_s

    def estimate_s(self, num_tokens: int) -> float:
        """Expect how long tokens will take.

        Args:
            num_tokens: Those in the queue and in the model.

        Returns:
            Seconds; 0 before the first batch.
        """
        return num_tokens / self._tokens_per_s if self._tokens_per_s else 0.0


Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class BatchStats:
    """Size and times of one batch; for metrics.

    Attributes:
        num_items: Items in it.
        num_tokens: Tokens in it.
        model_s: How long the model thread had it.
        waited_s: How long its oldest item had waited before.
        num_failed: Items without an answer.
    """

    num_items: int
    num_tokens: int
    model_s: float
    waited_s: float
    num_failed: int


@dataclass(eq=False)  # by identity: equal texts are separate items
class _QueuedItem(Generic[Item, Answer]):
    """An item in the queue."""

    item: Item
    num_tokens: int
    client: str
    # WHY an error arrives as a result: nobody may be left to fetch it, and asyncio
    # would then print it, and with it perhaps the text.
    future: asyncio.Future[Answer | Exception]
    enqueued_s: float = field(default_factory=time.monotonic)


class Batcher(Generic[Item, Answer]):
    """A queue before one model thread. Use it from one event loop.

    Args:
        run_batch: Takes B items, returns B answers in their order. Runs on the
            executor's thread.
        count_tokens: Tokens of an item.
        limits: What to take on.
        executor: A pool of one thread; None makes one. WHY one: a forward pass already
            uses all cores, two at a time would only wait for each other.
        on_batch: Called with the statistics of each finished batch.

    Examples:
        >>> async def main():
        ...     batcher = Batcher(
        ...         lambda words: [word.upper() for word in words], count_tokens=len
        ...     )
        ...     async with contextlib.aclosing(batcher):
        ...         return await batcher.submit(["oil", "cup"])
        >>> asyncio.run(main())
        ['OIL', 'CUP']
    """

    def __init__(
        self,
        run_batch: Callable[[list[Item]], Sequence[Answer]],
        *,
        count_tokens: Callable[[Item], int],
        limits: Limits | None = None,
        executor: concurrent.futures.ThreadPoolExecutor | None = None,
        on_batch: Callable[[BatchStats], None] = lambda batch: None,
    ) -> None:
        self.limits = limits or Limits()
        self._run_batch, self._count_tokens = run_batch, count_tokens
        self._on_batch = on_batch
        self._owns_executor = executor is None
        self._executor = executor or concurrent.futures.ThreadPoolExecutor(1, "model")
        # A dict and not a deque: it removes an item from any position at once.
        self._queue: dict[_QueuedItem[Item, Answer], None] = {}
        self._queued_tokens = 0
        self._running: list[_QueuedItem[Item, Answer]] = []
        self._running_tokens, self._began_s = 0, 0.0
        self._arrived = asyncio.Event()
        self._closed = False
        self._loop_task: asyncio.Task[None] | None = None
        self._throughput = ThroughputEstimator(self.limits)
        self._last_batch = (0, -math.inf)  # items, when it ended

    @property
    def num_waiting(self) -> int:
        """Items in the queue, those being computed not counted."""
        return len(self._queue)

    @property
    def expected_wait_s(self) -> float:
        """Seconds until all that is here now will be done, by measured throughput."""
        num_tokens = self._queued_tokens + self._running_tokens
        return self._throughput.estimate_s(num_tokens)

    @property
    def running_s(self) -> float:
        """Seconds that the model has had its present batch; 0 if it has none."""
        return time.monotonic() - self._began_s if self._running else 0.0

    def check_capacity(self, num_items: int = 1, *, client: str = "") -> None:
        """Reject now what `submit` would reject later.

        Args:
            num_items: How many items are to come.
            client: Whose share of the queue they take; "" has no share, and no limit.

        Raises:
            OverloadedError: They do not fit into the queue, or into the client's share.
            ClosedError: The batcher takes nothing more.
        """
        if self._closed:
            raise ClosedError("the process is about to end")
        expected_s, limits = self.expected_wait_s, self.limits
        # WHY half the deadline and not all of it: the measured throughput is that of
        # the past. Rejecting an item now is better than answering it too late.
        # WHY only beyond a batch: an item that fits into the next batch is always worth
        # a try. A throughput measured on single items is far too low; a queue that
        # rejected items by it would never see a full batch, and never measure better.
        exceeds_one_batch = self._queued_tokens > limits.max_batch_tokens
        too_slow = exceeds_one_batch and expected_s > limits.deadline_s / 2
        if len(self._queue) + num_items > limits.max_waiting or too_slow:
            raise OverloadedError(min(expected_s, limits.deadline_s))
        mine = [queued for queued in self._queue if queued.client == client]
        if not mine or not client:  # a newcomer always finds room
            return
        # WHY one share more than there are clients: the next one must find room.
        num_shares = 1 + len({queued.client for queued in self._queue})
        too_many = len(mine) + num_items > limits.max_waiting / num_shares
        num_tokens = sum(queued.num_tokens for queued in mine)
        expected_s = self._throughput.estimate_s(num_tokens)
        too_slow = expected_s > limits.deadline_s / 2 / num_shares
        if too_many or (too_slow and num_tokens > limits.max_batch_tokens / num_shares):
            raise OverloadedError(min(expected_s, limits.deadline_s))

    async def submit(
        self, items: Sequence[Item], *, client: str = "", until_s: float | None = None
    ) -> list[Answer | Exception]:
        """Wait for the answers to the items of one request.

        They enter together or not at all; they may be computed in different batches,
        beside items of other requests.

        Args:
            items: B items.
            client: Whose share of the queue they take.
            until_s: The deadline, by the event loop's clock; None: `deadline_s` from
                now.

        Returns:
            B answers; an exception in place of an answer for each item at which the
            model failed, also when it was computed on its own.

        Raises:
            OverloadedError: They do not fit into the queue. Nothing was done.
            ClosedError: The batcher takes nothing more. Nothing was done.
            TimeoutError: The deadline passed. What still waited left the queue.
        """
        self.check_capacity(len(items), client=client)
        loop = asyncio.get_running_loop()
        if self._loop_task is None:
            self._loop_task = loop.create_task(self._run(), name="batcher")
        queued_items: list[_QueuedItem[Item, Answer]] = [
            _QueuedItem(item, self._count_tokens(item), client, loop.create_future())
            for item in items
        ]
        for queued in queued_items:
            self._queue[queued] = None
            self._queued_tokens += queued.num_tokens
        self._arrived.set()
        if until_s is None:
            until_s = loop.time() + self.limits.deadline_s
        try:
            async with asyncio.timeout_at(until_s):
                answers = [await queued.future for queued in queued_items]
            if loop.time() > until_s:  # the loop was busy, and its timer is late, too
                raise TimeoutError
            return answers
        finally:  # also when the caller was cancelled: its client disconnected
            for queued in queued_items:
                self._remove(queued)
                queued.future.cancel()  # no effect on one that has an answer

    async def drain(self) -> None:
        """Take nothing more, and wait until all that is here has its answer."""
        self._closed = True
        while self._queue or self._running:
            await asyncio.sleep(0.005)

    async def aclose(self) -> None:
        """Take nothing more and end, without waiting for the model."""
        self._closed = True
        if self._loop_task is not None:
            self._loop_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task
        if self._owns_executor:
            self._executor.shutdown(wait=False, cancel_futures=True)

    def _remove(self, queued: _QueuedItem[Item, Answer]) -> None:
        if queued in self._queue:
            del self._queue[queued]
            self._queued_tokens -= queued.num_tokens

    async def _run(self) -> None:
        """Run batch after batch, until the task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            await self._wait_for_more()
            batch = self._next_batch()
            if not batch:
                self._arrived.clear()
                continue
            self._running = batch
            self._running_tokens = sum(queued.num_tokens for queued in batch)
            self._began_s = time.monotonic()
            items = [queued.item for queued in batch]
            outcomes = await loop.run_in_executor(self._executor, self._compute, items)
            self._finish_batch(batch, outcomes, began_s=self._began_s)

    async def _wait_for_more(self) -> None:
        """After a batch, wait a moment for those it answered to ask again.

        Why: they come back one by one within milliseconds. A batch that starts with
        the first of them computes it alone while all the others wait.
        """
        num_before, ended_s = self._last_batch
        until_s = ended_s + self.limits.max_wait_ms / 1000
        while len(self._queue) < num_before:
            left_s = until_s - time.monotonic()
            if left_s <= 0:  # so it is on an idle machine: the last batch is long ago
                return
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left_s)

    def _next_batch(self) -> list[_QueuedItem[Item, Answer]]:
        """As many items as the budget allows, one at least; clients take turns."""
        batch: list[_QueuedItem[Item, Answer]] = []
        num_tokens = 0
        for queued in self._by_turns():
            num_tokens += queued.num_tokens
            full = num_tokens > self.limits.max_batch_tokens
            if batch and (full or len(batch) == self.limits.max_batch_items):
                break
            batch.append(queued)
        for queued in batch:
            self._remove(queued)
        return batch

    def _by_turns(self) -> list[_QueuedItem[Item, Answer]]:
        """The oldest item of each client, then the second of each, and so on."""
        turns: collections.Counter[str] = collections.Counter()
        order = []
        for queued in self._queue:
            order.append((turns[queued.client], queued))
            turns[queued.client] += 1
        # A stable sort: within a turn, the oldest comes first.
        return [queued for _, queued in sorted(order, key=operator.itemgetter(0))]

    def _compute(self, items: list[Item]) -> list[Answer | Exception]:
        """On the model thread: together, or one by one if that fails."""
        outcome = self._try_batch(items)
        if not isinstance(outcome, Exception):
            return outcome
        if len(items) == 1:
            return [outcome]
        # WHY: some item made the batch fail, and it is unknown which one. Alone it
        # can only fail itself.
        results = [self._try_batch([item]) for item in items]
        return [r if isinstance(r, Exception) else r[0] for r in results]

    def _try_batch(self, items: list[Item]) -> list[Answer | Exception] | Exception:
        try:
            answers = list(self._run_batch(items))
        except Exception as error:  # the model may raise anything
            return error
        except BaseException as error:
            # WHY: a panic in a Rust library (tokenizers) is a BaseException. Passed on,
            # it would end the event loop, and with it everybody's request.
            return RuntimeError(f"{type(error).__name__} in the model")
        if len(answers) != len(items):
            return RuntimeError(f"{len(answers)} answers to {len(items)} items")
        return [*answers]

    def _finish_batch(
        self,
        batch: list[_QueuedItem[Item, Answer]],
        outcomes: list[Answer | Exception],
        *,
        began_s: float,
    ) -> None:
        """Hand out the answers and learn from the batch."""
        ended_s = time.monotonic()
        self._running, self._running_tokens = [], 0
        for queued, outcome in zip(batch, outcomes, strict=True):
            if not queued.future.done():  # else its caller has gone
                queued.future.set_result(outcome)
        stats = BatchStats(
            num_items=len(batch),
            num_tokens=sum(queued.num_tokens for queued in batch),
            model_s=ended_s - began_s,
            waited_s=began_s - batch[0].enqueued_s,
            num_failed=sum(isinstance(outcome, Exception) for outcome in outcomes),
        )
        self._throughput.update(stats.num_tokens, took_s=stats.model_s)
        self._last_batch = (len(batch), ended_s)
        self._on_batch(stats)
