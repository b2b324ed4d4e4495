"""The position of a sampler in the rows, in a unit that survives a change of ranks.

Promise: the position is counted in rows of the epoch, over all ranks. Two ranks that
stopped after 640 rows and one rank that continues from there mean the same position;
"batch 20 of rank 1" would not.

Not here: which rows come next (`distrinews.sharding`,
`distrinews.sharding.batch_sampler`).

Guide: understand/sharding.
"""

from __future__ import annotations

import logging
from typing import Any

from distrinews.errors import CheckpointError, SettingsError

__all__ = ["StatefulSampler"]

log = logging.getLogger(__name__)
# What samplers did before it was an option, for positions that older versions saved.
DEFAULTS = {"drop_last": True}


class StatefulSampler:
    """Base class of samplers that can save and restore their position in an epoch.

    Args:
        identity: What the order of rows follows from (their number, the seed, ...), as
            plain values. A position in one order means nothing in another.
        is_main: Whether this rank prints warnings.

    Attributes:
        epoch: From 0.

    Examples:
        >>> sampler = StatefulSampler({"num_rows": 100, "seed": 0})
        >>> sampler.start_at(epoch=3, consumed_rows=32)
        >>> sampler.state_dict()
        {'num_rows': 100, 'seed': 0, 'epoch': 3, 'consumed_rows': 32}
    """

    def __init__(self, identity: dict[str, Any], *, is_main: bool = True) -> None:
        self._identity, self._is_main = identity, is_main
        self.epoch = 0
        # Where an iteration begins, and how far the newest one has come; in rows of the
        # epoch, over all ranks.
        self._start_rows = self._handed_out_rows = 0
        self._is_used_up = False  # an iteration of this epoch came to its end
        self._has_begun = self._has_repeated = False  # any iteration; an epoch's order

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next.

        Forget it, and every epoch repeats the order of the first one; a warning on
        rank 0 says so.

        Args:
            epoch: From 0. The same on every rank. Choosing the current epoch again
                keeps the position; another epoch begins at its first row.
        """
        if epoch < self.epoch and self._is_main:
            log.warning(
                "set_epoch(%d) after epoch %d: these rows were trained before. After "
                "a resume, begin at `sampler.epoch`.",
                *(epoch, self.epoch),
            )
        # WHY keep the position: a resumed run restores it and then, like any run, calls
        # set_epoch. Starting over would train the first rows twice.
        if epoch != self.epoch:
            self.start_at(epoch=epoch, consumed_rows=0)
        self._is_used_up = False

    def start_at(self, *, epoch: int, consumed_rows: int) -> None:
        """Let the next iteration begin in the middle of an epoch.

        Args:
            epoch: From 0. The same on every rank.
            consumed_rows: Rows of this epoch's order to skip, over all ranks.
        """
        self.epoch = epoch
        self._start_rows = self._handed_out_rows = consumed_rows
        self._is_used_up = False

    def state_dict(self) -> dict[str, Any]:
        """Return how far the newest iteration has come, for a loader that saves it.

        A DataLoader with workers reads ahead, so these rows are handed out, and not yet
        trained. torchdata's StatefulDataLoader takes that into account. A checkpoint
        takes `state_at(step)` of the batch samplers, which counts trained steps.

        Returns:
            Plain values that JSON can hold; the same on every rank.
        """
        position = {"epoch": self.epoch, "consumed_rows": self._handed_out_rows}
        return self._identity | position

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at the position that another sampler of the same rows saved.

        Args:
            state: From `state_dict` or `state_at`, of any number of ranks.

        Raises:
            SettingsError: It belongs to another order of rows.
            CheckpointError: It is no such state. Both the same on every rank.
        """
        saved = DEFAULTS | state
        differing = [
            f"{name} was {saved.get(name)!r}, is {value!r}"
            for name, value in self._identity.items()
            if saved.get(name) != value
        ]
        if differing:
            raise SettingsError(
                "this position belongs to another order of rows: "
                f"{'; '.join(differing)}.",
                why="the same number of rows would be other rows: some trained twice, "
                "some never.",
                fix="resume with the data, the seed and the batch of that run.",
                page="resume",
            )
        position = [state.get("epoch"), state.get("consumed_rows")]
        # `type`, because True is an int to isinstance.
        if not all(type(value) is int and value >= 0 for value in position):
            raise CheckpointError(
                f"the sampler's position is {position}, not two counts.",
                why="training would go on at rows that nobody knows.",
                fix="resume from an older checkpoint: remove this one's folder.",
                page="checkpoint",
            )
        epoch, consumed_rows = position
        self.start_at(epoch=int(epoch or 0), consumed_rows=int(consumed_rows or 0))

    def _begin(self) -> int:
        """Begin an iteration: return how many rows of the epoch it skips."""
        if self._is_used_up:
            if self._is_main:
                log.warning(
                    "epoch %d is read again, in the same order: call "
                    "sampler.set_epoch(epoch) before each epoch.",
                    self.epoch,
                )
            self.start_at(epoch=self.epoch, consumed_rows=0)
            self._has_repeated = True
        self._has_begun = True
        self._handed_out_rows = self._start_rows
        return self._start_rows
