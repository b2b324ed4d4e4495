"""Let requests that come one by one share the model's time in batches.

Promise: one thread runs the model. While it computes, what arrives waits in a bounded
queue, and the next batch takes as much of it as a token budget allows. An item leaves
the queue when its deadline passes or its caller goes away; one more than the queue can
serve in time is refused at once, with the time after which to come back; one bad item
never fails its neighbours.

Not here: HTTP (`apps/api.py`), the model
(`distrinews.inference.classifier`). Nothing of this needs torch.

Letters used for shapes: B = items.
Guide: howto/serve.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

__all__ = ["Batch", "Batcher", "ClosedError", "Limits", "OverloadedError", "Speed"]

# How much the newest batch counts in the measured speed. A fifth follows a change of
# load within about ten batches, and one slow batch does not shut the door.
NEWEST = 0.2


class OverloadedError(Exception):
    """There is no place now. Not the caller's mistake: it may come back.

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
        max_batch_tokens: A batch is full when its items have so many tokens together.
        max_batch_items: Or when it holds so many items.
        max_wait_ms: After a batch, wait so long for those it answered to ask again;
            pays where a batch takes hardly longer than an item. An idle machine never
            waits.
        max_waiting: Items in the queue; one more is refused.
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


class Speed:
    """How fast batches are computed, measured as they come.

    Args:
        limits: What full batches are, and what is too late.

    Examples:
        >>> speed = Speed(Limits(max_batch_tokens=100))
        >>> speed.learn(100, took_s=0.5)
        >>> speed.seconds_for(400)
        2.0
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tokens_per_s: float | None = None

    def learn(self, num_tokens: int, *, took_s: float) -> None:
        """Take a batch into account.

        Args:
            num_tokens: Its tokens.
            took_s: What the model took for it.
        """
        newest = num_tokens / max(took_s, 1e-6)
        before = self._tokens_per_s or newest
        # A small batch says little about how fast full ones are.
        weight = NEWEST * min(1.0, num_tokens / self._limits.max_batch_tokens)
        self._tokens_per_s = (1 - weight) * before + weight * newest

    def seconds_for(self, num_tokens: int) -> float:
        """Expect how long tokens will take.

        Args:
            num_tokens: Those in the queue and in the model.

        Returns:
            Seconds; 0 before the first batch.
        """
        return num_tokens / self._tokens_per_s if self._tokens_per_s else 0.0

    def check_room(
        self, num_items: int, *, waiting: int, waiting_tokens: int, expected_s: float
    ) -> None:
        """Refuse items that have no place.

        Args:
            num_items: How many are to come.
            waiting: Items in the queue.
            waiting_tokens: Their tokens.
            expected_s: Until all that is here will be done.

        Raises:
            OverloadedError: They have no place.
        """
        # WHY half the deadline and not all of it: the measured speed is that of the
        # past. What would wait longer is better refused now than answered too late.
        # WHY only beyond a batch: what fits into the next one is always worth a try. A
        # speed that was measured at single items is far too low; who refused by it
        # would never see a full batch, and never learn better.
        more_than_a_batch = waiting_tokens > self._limits.max_batch_tokens
        too_long = more_than_a_batch and expected_s > self._limits.deadline_s / 2
        if waiting + num_items > self._limits.max_waiting or too_long:
            raise OverloadedError(min(expected_s, self._limits.deadline_s))


Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Batch:
    """What one batch was like; for metrics.

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


@dataclass(eq=False)  # by identity: two equal texts are two places
class _Place(Generic[Item, Answer]):
    """An item in the queue."""

    item: Item
    num_tokens: int
    # WHY an error arrives as a result: nobody may be left to fetch it, and asyncio
    # would then print it, and with it perhaps the text.
    outcome: asyncio.Future[Answer | Exception]
    came_s: float = field(default_factory=time.monotonic)


class Batcher(Generic[Item, Answer]):
    """A queue before one model thread. Use it from one event loop.

    Args:
        work: Takes B items, returns B answers in their order. Runs on the thread.
        size: Tokens of an item.
        limits: What to take on.
        thread: A pool of one thread; None makes one. WHY one: a forward pass already
            uses all cores, two at a time would only wait for each other.
        observe: Called with each finished batch.

    Examples:
        >>> async def story():
        ...     batcher = Batcher(lambda words: [w.upper() for w in words], size=len)
        ...     async with contextlib.aclosing(batcher):
        ...         return await batcher.submit(["oil", "cup"])
        >>> asyncio.run(story())
        ['OIL', 'CUP']
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Sequence[Answer]],
        *,
        size: Callable[[Item], int],
        limits: Limits | None = None,
        thread: concurrent.futures.ThreadPoolExecutor | None = None,
        observe: Callable[[Batch], None] = lambda batch: None,
    ) -> None:
        self.limits = limits or Limits()
        self._work, self._size, self._observe = work, size, observe
        self._owns_thread = thread is None
        self._thread = thread or concurrent.futures.ThreadPoolExecutor(1, "model")
        # A dict and not a deque: whoever leaves early leaves at once, from any place.
        self._waiting: dict[_Place[Item, Answer], None] = {}
        self._waiting_tokens = 0
        self._computing: list[_Place[Item, Answer]] = []
        self._computing_tokens = 0
        self._arrived = asyncio.Event()
        self._closed = False
        self._loop_task: asyncio.Task[None] | None = None
        self._speed = Speed(self.limits)
        self._last_batch = (0, -math.inf)  # items, when it ended

    @property
    def num_waiting(self) -> int:
        """Items in the queue, those being computed not counted."""
        return len(self._waiting)

    @property
    def expected_wait_s(self) -> float:
        """Seconds until all that is here now will be done, by measured speed."""
        num_tokens = self._waiting_tokens + self._computing_tokens
        return self._speed.seconds_for(num_tokens)

    def check_room(self, num_items: int = 1) -> None:
        """Refuse now what `submit` would refuse later.

        Args:
            num_items: How many items are to come.

        Raises:
            OverloadedError: They have no place.
            ClosedError: The batcher takes nothing more.
        """
        if self._closed:
            raise ClosedError("the process is about to end")
        self._speed.check_room(
            num_items,
            waiting=len(self._waiting),
            waiting_tokens=self._waiting_tokens,
            expected_s=self.expected_wait_s,
        )

    async def submit(self, items: Sequence[Item]) -> list[Answer | Exception]:
        """Wait for the answers to the items of one request.

        They enter together or not at all; they may be computed in different batches,
        beside items of other requests.

        Args:
            items: B items.

        Returns:
            B answers; an exception in place of an answer for each item at which the
            model failed, also when it was computed on its own.

        Raises:
            OverloadedError: They have no place in the queue. Nothing was done.
            ClosedError: The batcher takes nothing more. Nothing was done.
            TimeoutError: The deadline passed. What still waited left the queue.
        """
        self.check_room(len(items))
        loop = asyncio.get_running_loop()
        if self._loop_task is None:
            self._loop_task = loop.create_task(self._serve(), name="batcher")
        places: list[_Place[Item, Answer]] = [
            _Place(item, self._size(item), loop.create_future()) for item in items
        ]
        for place in places:
            self._waiting[place] = None
            self._waiting_tokens += place.num_tokens
        self._arrived.set()
        try:
            async with asyncio.timeout(self.limits.deadline_s):
                return [await place.outcome for place in places]
        finally:  # also when the caller was cancelled: its client went away
            for place in places:
                self._leave(place)
                place.outcome.cancel()  # no effect on one that has an answer

    async def drain(self) -> None:
        """Take nothing more, and wait until all that is here has its answer."""
        self._closed = True
        while self._waiting or self._computing:
            await asyncio.sleep(0.005)

    async def aclose(self) -> None:
        """Take nothing more and end, without waiting for the model."""
        self._closed = True
        if self._loop_task is not None:
            self._loop_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loop_task
        if self._owns_thread:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _leave(self, place: _Place[Item, Answer]) -> None:
        if place in self._waiting:
            del self._waiting[place]
            self._waiting_tokens -= place.num_tokens

    async def _serve(self) -> None:
        """Batch after batch, as long as the process lives."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            await self._let_more_arrive()
            batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            self._computing = batch
            self._computing_tokens = sum(place.num_tokens for place in batch)
            began_s = time.monotonic()
            items = [place.item for place in batch]
            outcomes = await loop.run_in_executor(self._thread, self._compute, items)
            self._settle(batch, outcomes, began_s=began_s)

    async def _let_more_arrive(self) -> None:
        """After a batch, wait a moment for those it answered to ask again.

        Why: they come back one by one within milliseconds. Who starts with the first
        of them computes it alone while all the others wait.
        """
        num_before, ended_s = self._last_batch
        until_s = ended_s + self.limits.max_wait_ms / 1000
        while len(self._waiting) < num_before:
            left_s = until_s - time.monotonic()
            if left_s <= 0:  # so it is on an idle machine: the last batch is long ago
                return
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), left_s)

    def _take(self) -> list[_Place[Item, Answer]]:
        """The oldest items, as many as the budget allows, one at least."""
        batch: list[_Place[Item, Answer]] = []
        num_tokens = 0
        for place in self._waiting:
            num_tokens += place.num_tokens
            full = num_tokens > self.limits.max_batch_tokens
            if batch and (full or len(batch) == self.limits.max_batch_items):
                break
            batch.append(place)
        for place in batch:
            self._leave(place)
        return batch

    def _compute(self, items: list[Item]) -> list[Answer | Exception]:
        """On the model thread: together, or one by one if that fails."""
        outcome = self._attempt(items)
        if not isinstance(outcome, Exception):
            return outcome
        if len(items) == 1:
            return [outcome]
        # WHY: some item made the batch fail, and nobody knows which. On its own it can
        # only fail itself.
        alone = [self._attempt([item]) for item in items]
        return [one if isinstance(one, Exception) else one[0] for one in alone]

    def _attempt(self, items: list[Item]) -> list[Answer | Exception] | Exception:
        try:
            answers = list(self._work(items))
        except Exception as error:  # the model may raise anything
            return error
        except BaseException as error:
            # WHY: a panic in a Rust library (tokenizers) is a BaseException. Passed on,
            # it would end the event loop, and with it everybody's request.
            return RuntimeError(f"{type(error).__name__} in the model")
        if len(answers) != len(items):
            return RuntimeError(f"{len(answers)} answers to {len(items)} items")
        return [*answers]

    def _settle(
        self,
        batch: list[_Place[Item, Answer]],
        outcomes: list[Answer | Exception],
        *,
        began_s: float,
    ) -> None:
        """Hand out the answers and learn from the batch."""
        ended_s = time.monotonic()
        self._computing, self._computing_tokens = [], 0
        for place, outcome in zip(batch, outcomes, strict=True):
            if not place.outcome.done():  # else its caller is gone
                place.outcome.set_result(outcome)
        told = Batch(
            num_items=len(batch),
            num_tokens=sum(place.num_tokens for place in batch),
            model_s=ended_s - began_s,
            waited_s=began_s - batch[0].came_s,
            num_failed=sum(isinstance(outcome, Exception) for outcome in outcomes),
        )
        self._speed.learn(told.num_tokens, took_s=told.model_s)
        self._last_batch = (len(batch), ended_s)
        self._observe(told)
