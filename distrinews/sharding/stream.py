"""Deal a stream to the ranks and their DataLoader workers: rows without numbers.

DDP does not touch data, and an `IterableDataset` has no row numbers that a sampler
could deal. Unsplit, every rank reads all of it, and every worker of every rank again.

Not here: rows with numbers (`distrinews.sharding.sampler`,
`distrinews.sharding.batch_sampler`).

Letters used for shapes: W = ranks.
Guide: understand/sharding.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

from torch.utils.data import IterableDataset, get_worker_info

from distrinews.dist import Ranks

__all__ = ["shard_iterable"]

Row = TypeVar("Row")


def shard_iterable(
    rows: Iterable[Row], ranks: Ranks, *, drop_last: bool = True
) -> IterableDataset[Row]:
    """Make a dataset of the rows of a stream that this rank reads.

    Every rank and every worker reads the whole stream, and keeps its rows: of each W
    rows in turn, rank r takes the one at place r. A rank's rows go to its workers in
    turn.

    Args:
        rows: The stream: what yields the same rows in the same order on every rank,
            such as an `IterableDataset`. With DataLoader workers it must survive
            pickling where these are spawned (Windows, macOS).
        ranks: Who is asking.
        drop_last: Leave out the last N mod W rows, so that all ranks get equally many:
            in training, a rank with one batch more would wait for the others. False for
            evaluation: every row once.

    Returns:
        A dataset for a DataLoader, which makes the batches of one rank; also iterable
        by itself. It saves no position: after a resume the stream begins at its start.

    Note:
        All ranks need the same `batch_size` and the same `num_workers`: then they get
        equally many batches with `drop_last`.

    Examples:
        >>> import torch
        >>> rank_1 = Ranks(1, local_rank=1, world_size=2, device=torch.device("cpu"))
        >>> list(shard_iterable("abcde", rank_1)), list(shard_iterable("abc", rank_1))
        (['b', 'd'], ['b'])
    """
    return _Shard(rows, ranks.rank, ranks.world_size, drop_last)


class _Shard(IterableDataset[Row]):
    """The rows of one rank."""

    def __init__(
        self, rows: Iterable[Row], rank: int, world_size: int, drop_last: bool
    ) -> None:
        self.rows, self.rank, self.world_size = rows, rank, world_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[Row]:
        worker = get_worker_info()
        number, num_workers = (worker.id, worker.num_workers) if worker else (0, 1)
        return itertools.islice(self._of_this_rank(), number, None, num_workers)

    def _of_this_rank(self) -> Iterator[Row]:
        stream = iter(self.rows)
        # WHY W rows at a time: whether a row has a counterpart on every rank is known
        # only when the others of its round were read.
        while turn := list(itertools.islice(stream, self.world_size)):
            is_whole = len(turn) == self.world_size
            if self.rank < len(turn) and (is_whole or not self.drop_last):
                yield turn[self.rank]
