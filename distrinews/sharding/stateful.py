"""Where a sampler stands in the rows, in a unit that survives a change of ranks.

Promise: the place is counted in rows of the epoch that are *trained*, over all ranks.
Two ranks that stopped after 640 rows and one rank that goes on from there mean the same
place; "batch 20 of rank 1" would not.

Not here: which rows come next (`distrinews.sharding`,
`distrinews.sharding.batch_sampler`).

Guide: understand/sharding.
"""

from __future__ import annotations

from typing import Any

from distrinews.errors import CheckpointError, SettingsError

__all__ = ["StatefulSampler"]


class StatefulSampler:
    """An epoch, and how many of its rows are done.

    Args:
        identity: What the order of rows follows from (their number, the seed, ...), as
            plain values. A position in one order means nothing in another.

    Attributes:
        epoch: From 0.
        consumed_rows: Rows of this epoch that are trained, over all ranks.

    Examples:
        >>> place = StatefulSampler({"num_rows": 100, "seed": 0})
        >>> place.set_epoch(3)
        >>> place.advance(32)
        >>> place.state_dict()
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
            epoch: From 0. The same on every rank. The epoch that it stands in already
                keeps its place; another one begins at its first row.
        """
        # WHY keep the place: a resumed run restores it and then, like any run, calls
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
        """Say where it stands, for a checkpoint.

        Returns:
            Plain values that JSON can hold; the same on every rank.
        """
        place = {"epoch": self.epoch, "consumed_rows": self.consumed_rows}
        return self._identity | place

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to where another sampler of the same rows stood.

        Args:
            state: From `state_dict`, of any number of ranks.

        Raises:
            SettingsError: It belongs to another order of rows.
            CheckpointError: It is no such state. Both the same on every rank.
        """
        wrong = [
            f"{name} was {state.get(name)!r}, is {value!r}"
            for name, value in self._identity.items()
            if state.get(name) != value
        ]
        if wrong:
            raise SettingsError(
                f"this place belongs to another order of rows: {'; '.join(wrong)}.",
                why="the same number of rows would be other rows: some trained twice, "
                "some never.",
                fix="resume with the data, the seed and the batch of that run.",
                page="resume",
            )
        place = [state.get("epoch"), state.get("consumed_rows")]
        # `type`, because True is an int to isinstance.
        if not all(type(value) is int and value >= 0 for value in place):
            raise CheckpointError(
                f"the sampler's place is {place}, not two counts.",
                why="training would go on at rows that nobody knows.",
                fix="resume from an older checkpoint: remove this one's folder.",
                page="checkpoint",
            )
        self.epoch, self.consumed_rows = int(place[0] or 0), int(place[1] or 0)
