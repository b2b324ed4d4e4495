"""Split a stream, whose rows have no numbers, over ranks and DataLoader workers.

DDP does not touch data, and an `IterableDataset` has no row numbers for a sampler. If
it is not split, every rank reads all of it, and so does every worker of every rank.

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
    """Make a dataset of the rows of a stream that this rank should read.

    Every rank and every worker reads the whole stream and keeps its own rows: of each W
    rows, rank r takes the row at place r. Its workers take turns with that rank's rows.

    Args:
        rows: The stream, such as an `IterableDataset`: it must yield the same rows in
            the same order on every rank. With DataLoader workers it must pickle where
            these are spawned (Windows, macOS).
        ranks: This process.
        drop_last: Leave out the last N mod W rows, so that all ranks get the same
            number: in training, a rank with one more batch would wait for the others.
            Use False for evaluation: every row once.

    Returns:
        A dataset for a DataLoader, which makes this rank's batches; you can also
        iterate over it directly. It saves no position: after a resume the stream starts
        again.

    Note:
        Use the same `batch_size` and `num_workers` on all ranks: then they get the same
        number of batches with `drop_last`.

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
        # W rows at a time, because only after reading a whole round is it known whether
        # every rank gets a row of it.
        while turn := list(itertools.islice(stream, self.world_size)):
            is_whole = len(turn) == self.world_size
            if self.rank < len(turn) and (is_whole or not self.drop_last):
                yield turn[self.rank]
