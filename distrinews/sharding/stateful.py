"""The position of a sampler in the rows, in a unit that survives a change of ranks.

Promise: the position is counted in rows of the epoch that are *trained*, over all
ranks. Two ranks that stopped after 640 rows and one rank that continues from there mean
the same position; "batch 20 of rank 1" would not.

Not here: which rows come next (`distrinews.sharding`,
`distrinews.sharding.batch_sampler`).

Guide: understand/sharding.
"""

from __future__ import annotations

from typing import Any

from distrinews.errors import CheckpointError, SettingsError

__all__ = ["StatefulSampler"]


class StatefulSampler:
    """Base class of samplers that can save and restore their position in an epoch.

    Args:
        identity: What the order of rows follows from (their number, the seed, ...), as
            plain values. A position in one order means nothing in another.

    Attributes:
        epoch: From 0.
        consumed_rows: Rows of this epoch that are trained, over all ranks.

    Examples:
        >>> sampler = StatefulSampler({"num_rows": 100, "seed": 0})
        >>> sampler.set_epoch(3)
        >>> sampler.advance(32)
        >>> sampler.state_dict()
        {'num_rows': 100, 'seed': 0, 'epoch': 3, 'consumed_rows': 32}
    """

    def __init__(self, identity: dict[str, Any]) -> None:
        self._identity = identity
        self.epoch = 0
        self.consumed_rows = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next.

        Forget it, and every epoch repeats the order of the first one. Nothing raises.

        Args:
            epoch: From 0. The same on every rank. Choosing the current epoch again
                keeps the position; another epoch begins at its first row.
        """
        # WHY keep the position: a resumed run restores it and then, like any run, calls
        # set_epoch. Starting over would train the first rows twice.
        if epoch != self.epoch:
            self.epoch, self.consumed_rows = epoch, 0

    def advance(self, num_rows: int) -> None:
        """Say that more rows are trained. Local: no rank waits for another.

        Iterating moves nothing. WHY: a DataLoader reads ahead; what was read when a
        checkpoint is saved is not yet trained, and would be skipped after a resume.

        Args:
            num_rows: How many more, over all ranks.
        """
        self.consumed_rows += num_rows

    def state_dict(self) -> dict[str, Any]:
        """Return the position, for a checkpoint.

        Returns:
            Plain values that JSON can hold; the same on every rank.
        """
        position = {"epoch": self.epoch, "consumed_rows": self.consumed_rows}
        return self._identity | position

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at the position that another sampler of the same rows saved.

        Args:
            state: From `state_dict`, of any number of ranks.

        Raises:
            SettingsError: It belongs to another order of rows.
            CheckpointError: It is no such state. Both the same on every rank.
        """
        differing = [
            f"{name} was {state.get(name)!r}, is {value!r}"
            for name, value in self._identity.items()
            if state.get(name) != value
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
        self.epoch, self.consumed_rows = int(position[0] or 0), int(position[1] or 0)
