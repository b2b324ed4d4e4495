"""Which rank reads which row: the part of data parallelism that DDP does not do.

DDP averages gradients. It does not split batches: unless each rank is told to read
other rows, all ranks train on the same ones. Here the split is written out.

Two kinds of split, because training and evaluation promise different things:
training needs the same number of batches on every rank (each step is a meeting),
evaluation needs every row exactly once (no meeting inside, so counts may differ).

Not here: reading rows (`distrinews.data`), averaging (`distrinews.sync`).

Letters used for shapes: N = rows, W = ranks, B = rows per rank and step.
Guide: understand/sharding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

from distrinews.dist import Ranks
from distrinews.errors import SettingsError

__all__ = [
    "ShardSampler",
    "evaluation_batches",
    "per_rank_batch_size",
    "training_batches",
]


def per_rank_batch_size(global_batch_size: int, *, world_size: int) -> int:
    """Divide the rows of one optimizer step over the ranks.

    Why: what decides how a model trains is the rows per *step*. Two ranks with 32 rows
    each take steps of 64, another experiment than one process with 32.

    Args:
        global_batch_size: Rows per optimizer step, over all ranks.
        world_size: W.

    Returns:
        B = global_batch_size / W, rows per rank and step.

    Raises:
        SettingsError: It does not divide. The same on every rank.

    Examples:
        >>> per_rank_batch_size(32, world_size=2)
        16
    """
    if global_batch_size % world_size != 0:
        nearest = max(1, round(global_batch_size / world_size)) * world_size
        raise SettingsError(
            f"a global batch of {global_batch_size} rows does not divide by "
            f"{world_size} ranks.",
            why="DDP averages the ranks' gradients with equal weights; with unequal "
            "batches the average would not be the gradient of the global batch.",
            fix=f"--global-batch-size {nearest}",
            page="batch-size",
        )
    return global_batch_size // world_size


class ShardSampler(Sampler[int]):
    """Deal the rows of one epoch to the ranks, like cards: 0, 1, 0, 1, ...

    Index for index what `torch.utils.data.DistributedSampler` yields, in a form that
    can be read.

    Why dealing and not cutting in halves: step k of all ranks together then holds the
    rows k*B*W to (k+1)*B*W of the epoch's order, whatever W is. One process and W ranks
    take the very same steps.

    Args:
        num_rows: N.
        ranks: Who is asking.
        seed: Fixes the shuffles. The same on every rank: ranks that shuffle
            differently would read some rows twice and others never.
        shuffle: A new order each epoch, or the rows as they are.
        drop_last: Leave out the last N mod W rows. Else the first rows are repeated
            until W divides: harmless in training, wrong in evaluation.

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
        self.num_rows, self.ranks = num_rows, ranks
        self.seed, self.shuffle, self.drop_last = seed, shuffle, drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is dealt next.

        Forget it, and every epoch repeats the order of the first one. Nothing raises.

        Args:
            epoch: From 0. The same on every rank.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        if self.drop_last:
            return self.num_rows // self.ranks.world_size
        return -(-self.num_rows // self.ranks.world_size)  # rounded up

    def __iter__(self) -> Iterator[int]:
        order = list(range(self.num_rows))
        if self.shuffle:
            # WHY a generator of its own: the global one also feeds dropout, which
            # differs by rank; the order must not.
            dice = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(self.num_rows, generator=dice).tolist()
        total = len(self) * self.ranks.world_size
        while len(order) < total:  # pad with the first rows, again and again if few
            order += order[: total - len(order)]
        return iter(order[self.ranks.rank : total : self.ranks.world_size])


def training_batches(
    sampler: ShardSampler, *, per_rank_batch_size: int, skip: int = 0
) -> Iterator[list[int]]:
    """Cut one rank's shard of an epoch into batches of equal size.

    Args:
        sampler: With its epoch set, and `drop_last=True`.
        per_rank_batch_size: B.
        skip: Batches of this epoch that were trained before a resume.

    Yields:
        Row numbers [B]. The same number of batches on every rank. Up to B*W - 1 rows
        at the end of an epoch are left out, other ones each epoch; `N mod (B*W)` of
        them, with any W.

    Examples:
        >>> alone = Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
        >>> sampler = ShardSampler(5, alone, seed=0, shuffle=False, drop_last=True)
        >>> list(training_batches(sampler, per_rank_batch_size=2))
        [[0, 1], [2, 3]]
    """
    # WHY the rest is left out: a last batch of 3 rows on one rank and 2 on the other
    # would be averaged as if both had the same number.
    mine = list(sampler)
    for batch in range(skip, len(mine) // per_rank_batch_size):
        start = batch * per_rank_batch_size
        yield mine[start : start + per_rank_batch_size]


def evaluation_batches(
    lengths: Sequence[int], ranks: Ranks, *, batch_size: int
) -> list[list[int]]:
    """Deal whole evaluation batches to the ranks: every row once, none twice.

    Why whole batches, sorted by length: rows of like length need little padding, and
    because the plan does not depend on W, each row is computed in the same company
    whether 1 or 5 ranks share the work: the same confusion matrix, to the last row.

    Args:
        lengths: Tokens of each row [N].
        ranks: Who is asking.
        batch_size: Rows per batch.

    Returns:
        This rank's batches of row numbers. Ranks may get different numbers of batches:
        there must be no collective in the evaluation loop, and no call of the DDP
        wrapper, whose forward may hold one.

    Examples:
        >>> rank_0 = Ranks(0, local_rank=0, world_size=2, device=torch.device("cpu"))
        >>> evaluation_batches([5, 3, 9, 4, 1], rank_0, batch_size=2)
        [[4, 1], [2]]
    """
    order = sorted(range(len(lengths)), key=lambda row: (lengths[row], row))
    plan = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return plan[ranks.rank :: ranks.world_size]
