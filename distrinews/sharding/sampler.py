"""Deal single rows to the ranks, like cards, for training and for evaluation.

Not here: whole batches for every rank (`distrinews.sharding.batch_sampler`).

Letters used for shapes: N = rows, W = ranks, B = rows per rank and step.
Guide: understand/sharding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

from distrinews.dist import Ranks
from distrinews.sharding.stateful import StatefulSampler

__all__ = ["ShardSampler", "assignment_table", "evaluation_batches"]


class ShardSampler(StatefulSampler, Sampler[int]):
    """Deal the rows of one epoch to the ranks, like cards: 0, 1, 0, 1, ...

    Yields the same indices as `torch.utils.data.DistributedSampler`, in readable code.

    Why dealing instead of one block per rank: step k of all ranks together then holds
    the rows k*B*W to (k+1)*B*W of the epoch's order, for any W. One process and W ranks
    take exactly the same steps.

    Args:
        num_rows: N.
        ranks: This process.
        seed: Fixes the shuffles. The same on every rank: with different shuffles some
            rows would be read twice and others never.
        shuffle: Use a new order in each epoch, or the rows in their given order.
        drop_last: Leave out the last N mod W rows. Otherwise the first rows are
            repeated until W divides their number: harmless in training, wrong in
            evaluation.

    Examples:
        >>> rank_1 = Ranks(1, local_rank=1, world_size=2, device=torch.device("cpu"))
        >>> list(ShardSampler(5, rank_1, seed=0, shuffle=False))  # row 0 is padding
        [1, 3, 0]
    """

    def __init__(
        self,
        num_rows: int,
        ranks: Ranks,
        *,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        super().__init__(
            {"num_rows": num_rows, "seed": seed, "shuffle": shuffle},
            is_main=ranks.is_main,
        )
        self.num_rows, self.ranks = num_rows, ranks
        self.seed, self.shuffle, self.drop_last = seed, shuffle, drop_last

    @property
    def num_padding(self) -> int:
        """How many indices of the next iteration repeat a row that is already read."""
        num_left = max(0, self.num_rows - self._start_rows)
        return max(0, self._num_shared(num_left) * self.ranks.world_size - num_left)

    def __len__(self) -> int:
        """This rank's rows in a whole epoch, also after a resume in its middle."""
        return self._num_shared(self.num_rows)

    def _num_shared(self, num_rows: int) -> int:
        """How many of these rows each rank gets."""
        if self.drop_last:
            return num_rows // self.ranks.world_size
        return -(-num_rows // self.ranks.world_size)  # rounded up

    def __iter__(self) -> Iterator[int]:
        order = list(range(self.num_rows))
        if self.shuffle:
            # A separate generator, because dropout uses the global one and differs by
            # rank; the order must not.
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(self.num_rows, generator=generator).tolist()
        order = order[self._begin() :]  # all of it, except after a resume
        total = self._num_shared(len(order)) * self.ranks.world_size
        while len(order) < total:  # pad with the first rows, repeatedly if few
            order += order[: total - len(order)]
        return self._hand_out(order[self.ranks.rank : total : self.ranks.world_size])

    def _hand_out(self, rows: list[int]) -> Iterator[int]:
        """Yield this rank's rows, and record the position of all ranks."""
        for number, row in enumerate(rows, start=1):
            self._handed_out_rows += self.ranks.world_size
            # Before the yield, because a loop that counts its steps never asks for
            # more.
            self._is_used_up = number == len(rows)
            yield row
        self._is_used_up = True


def evaluation_batches(
    lengths: Sequence[int] | int, ranks: Ranks, *, batch_size: int
) -> list[list[int]]:
    """Deal whole evaluation batches to the ranks: every row once, none twice.

    Why whole batches, sorted by length: rows of similar length need little padding. And
    because the plan does not depend on W, each row is computed in the same batch on 1
    rank or on 5, so the confusion matrix is the same to the last row.

    Args:
        lengths: Tokens of each row [N]; or N, if all rows cost the same.
        ranks: This process.
        batch_size: Rows per batch.

    Returns:
        This rank's batches of row numbers, also for `DataLoader(batch_sampler=...)`.
        Ranks may get different numbers of batches, so call no collective in the
        evaluation loop, and do not call the DDP wrapper, whose forward may contain one.

    Examples:
        >>> rank_0 = Ranks(0, local_rank=0, world_size=2, device=torch.device("cpu"))
        >>> evaluation_batches([5, 3, 9, 4, 1], rank_0, batch_size=2)
        [[4, 1], [2]]
        >>> evaluation_batches(5, rank_0, batch_size=2)
        [[0, 1], [4]]
    """
    if isinstance(lengths, int):
        lengths = [0] * lengths
    order = sorted(range(len(lengths)), key=lengths.__getitem__)  # stable
    plan = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return plan[ranks.rank :: ranks.world_size]


def assignment_table(by_rank: Sequence[Iterable[object]]) -> str:
    """Draw a table with one line per rank: what it reads, from left to right.

    Args:
        by_rank: For each rank, what its sampler yields: rows or batches of rows.

    Returns:
        Lines of text, with columns of equal width.

    Examples:
        >>> print(assignment_table([[0, 2], [1, 13]]))
        rank 0 |  0  2
        rank 1 |  1 13
    """
    cells = [[str(read) for read in reads] for reads in by_rank]
    width = max((len(cell) for row in cells for cell in row), default=0)
    return "\n".join(
        f"rank {rank} | " + " ".join(f"{cell:>{width}}" for cell in row)
        for rank, row in enumerate(cells)
    )
