"""Who gets a place in the queue: limits, and the speed by which they are judged.

Promise: what can be answered in time gets in; what can only be answered too late is
refused at once, with the time after which to come back.

Not here: the queue (`distrinews.inference.batching`).

Guide: howto/serve.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ClosedError", "Limits", "OverloadedError", "Speed"]

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
