"""Save a sampler's position in a unit that fits any number of ranks.

The position is counted in rows of the epoch, over all ranks. If two ranks stop after
640 rows, one rank can continue there; "batch 20 of rank 1" would mean nothing to it.

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
# How samplers behaved before this was an option, for positions of older versions.
DEFAULTS = {"drop_last": True}


class StatefulSampler:
    """Base class of samplers that can save and restore their position in an epoch.

    Args:
        identity: The values that determine the order of the rows (their number, the
            seed, ...). A position in one order means nothing in another.
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
        # Where an iteration starts, and how far the newest one has come, in rows of the
        # epoch over all ranks.
        self._start_rows = self._handed_out_rows = 0
        self._is_used_up = False  # an iteration of this epoch has ended
        self._has_begun = self._has_repeated = False  # any iteration; an epoch's order

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next.

        If you forget it, every epoch repeats the order of the first one; rank 0 warns
        you.

        Args:
            epoch: From 0. The same on every rank. Choosing the current epoch again
                keeps the position; another epoch starts at its first row.
        """
        if epoch < self.epoch and self._is_main:
            log.warning(
                "set_epoch(%d) after epoch %d: these rows were trained before. After "
                "a resume, start at `sampler.epoch`.",
                *(epoch, self.epoch),
            )
        # Keep the position: a resumed run restores it and then calls set_epoch, like
        # any run. Starting over would train the first rows twice.
        if epoch != self.epoch:
            self.start_at(epoch=epoch, consumed_rows=0)
        self._is_used_up = False

    def start_at(self, *, epoch: int, consumed_rows: int) -> None:
        """Start the next iteration in the middle of an epoch.

        Args:
            epoch: From 0. The same on every rank.
            consumed_rows: Rows of this epoch's order to skip, over all ranks.
        """
        self.epoch = epoch
        self._start_rows = self._handed_out_rows = consumed_rows
        self._is_used_up = False

    def state_dict(self) -> dict[str, Any]:
        """Return how far the newest iteration has come, for a loader that saves it.

        A DataLoader with workers reads ahead, so these rows were handed out but not yet
        trained. torchdata's StatefulDataLoader accounts for that. A checkpoint uses
        `state_at(step)` of the batch samplers, which counts trained steps.

        Returns:
            Plain values that JSON can hold; the same on every rank.
        """
        position = {"epoch": self.epoch, "consumed_rows": self._handed_out_rows}
        return self._identity | position

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at the position that another sampler of the same rows saved.

        Args:
            state: From `state_dict` or `state_at`, saved with any number of ranks.

        Raises:
            SettingsError: It belongs to another order of rows.
            CheckpointError: It is not such a state. Both the same on every rank.
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
                why="the position would point to other rows: some would be trained "
                "twice, some never.",
                fix="resume with the data, the seed and the batch of that run.",
                page="resume",
            )
        position = [state.get("epoch"), state.get("consumed_rows")]
        # `type`, because True is an int to isinstance.
        if not all(type(value) is int and value >= 0 for value in position):
            raise CheckpointError(
                f"the sampler's position is {position}, not two counts.",
                why="no one could tell which rows to continue with.",
                fix="resume from an older checkpoint: remove this one's folder.",
                page="checkpoint",
            )
        epoch, consumed_rows = position
        self.start_at(epoch=int(epoch or 0), consumed_rows=int(consumed_rows or 0))

    def _begin(self) -> int:
        """Start an iteration: return how many rows of the epoch it skips."""
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
