"""Whole batches for every rank: the same global batches, whoever divides them.

A step of training takes one *global batch*. Which rows are in it must not depend on
how many ranks share it, or two ranks and one process would train different models. So
each sampler here first plans global batches, and only then deals each of them to the
ranks, like cards.

`LengthBalancedBatchSampler` puts rows of like length together. A batch is padded to its
longest row, and padding costs as much to compute as text: random batches of AG News are
two fifths padding. And a step takes as long as its slowest rank: dealing neighbours in
length to the ranks gives all of them the same work.

Not here: dealing single rows (`distrinews.sharding.sampler`).

Letters used for shapes: N = rows, W = ranks, G = rows per global batch,
A = micro-batches per step, B = G / (W * A) = rows per micro-batch.
Guide: understand/stragglers-and-length-balance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from distrinews.dist import Ranks
from distrinews.errors import SettingsError
from distrinews.sharding.stateful import StatefulSampler

__all__ = [
    "GlobalBatchSampler",
    "LengthBalancedBatchSampler",
    "ShuffledBatchSampler",
    "padding_share",
    "per_rank_batch_size",
]

# Global batches that are sorted by length together. More of them: less padding, and
# rows of like length meet more often. With 50 of 32 rows, 2 % of what AG News computes
# is padding; with 1 (no sorting) 38 %, with 8 12 %, with all rows at once 0.1 %.
POOL_BATCHES = 50


def per_rank_batch_size(
    global_batch_size: int, *, world_size: int, accumulation_steps: int = 1
) -> int:
    """Divide the rows of one optimizer step over the ranks and their micro-batches.

    Why: what decides how a model trains is the rows per *step*. Two ranks with 32 rows
    each take steps of 64, another experiment than one process with 32.

    Args:
        global_batch_size: Rows per optimizer step, over all ranks.
        world_size: W.
        accumulation_steps: A.

    Returns:
        B = global_batch_size / (W * A), rows per rank and micro-batch.

    Raises:
        SettingsError: It does not divide. The same on every rank.

    Examples:
        >>> per_rank_batch_size(32, world_size=2)
        16
        >>> per_rank_batch_size(32, world_size=2, accumulation_steps=4)
        4
    """
    num_parts = world_size * accumulation_steps
    if global_batch_size % num_parts != 0:
        nearest = max(1, round(global_batch_size / num_parts)) * num_parts
        micro_batch_note = f" of {accumulation_steps} micro-batches each" * (
            accumulation_steps > 1
        )
        raise SettingsError(
            f"a global batch of {global_batch_size} rows does not divide by "
            f"{world_size} ranks{micro_batch_note}.",
            why="DDP averages the ranks' gradients with equal weights; with unequal "
            "batches the average would not be the gradient of the global batch.",
            fix=f"--global-batch-size {nearest}",
            page="batch-size",
        )
    return global_batch_size // num_parts


def padding_share(
    lengths: Sequence[int] | np.ndarray, batches: Sequence[Sequence[int]]
) -> float:
    """Say how much of what a model computes is padding.

    Args:
        lengths: Tokens of each row [N].
        batches: Row numbers of each batch; a batch is as wide as its longest row.

    Returns:
        Padding tokens / all tokens that the model computes, 0 to 1.

    Examples:
        >>> padding_share([2, 4, 4, 2], [[0, 1], [2, 3]])
        0.25
        >>> padding_share([2, 4, 4, 2], [[0, 3], [1, 2]])
        0.0
    """
    tokens = np.asarray(lengths, dtype=np.int64)
    tokens_of_batches = [tokens[np.asarray(batch)] for batch in batches if len(batch)]
    num_tokens = sum(int(batch_tokens.sum()) for batch_tokens in tokens_of_batches)
    num_positions = sum(
        len(batch_tokens) * int(batch_tokens.max())
        for batch_tokens in tokens_of_batches
    )
    return 1 - num_tokens / num_positions if num_positions else 0.0


class GlobalBatchSampler(StatefulSampler, Sampler[list[int]]):
    """What both samplers share: deal planned global batches to the ranks.

    Works as `DataLoader(batch_sampler=...)`, too.
    """

    def __init__(
        self,
        num_rows: int,
        ranks: Ranks,
        *,
        global_batch_size: int,
        accumulation_steps: int,
        identity: dict[str, Any],
    ) -> None:
        per_rank_batch_size(
            global_batch_size,
            world_size=ranks.world_size,
            accumulation_steps=accumulation_steps,
        )
        row_order = {"num_rows": num_rows, "global_batch_size": global_batch_size}
        super().__init__(identity | row_order)
        self.num_rows, self.ranks = num_rows, ranks
        self.global_batch_size = global_batch_size
        self.accumulation_steps = accumulation_steps

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of a whole epoch; the same with any number of ranks."""
        return self.num_rows // self.global_batch_size

    def plan(self) -> list[np.ndarray]:
        """Order all rows of the epoch into global batches.

        Returns:
            For each step its rows [G], in the order in which ranks are dealt them. The
            same on every rank, and with any number of ranks.
        """
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[int]]:
        plan = self.plan()
        for batch in plan[_steps_done(plan, self.consumed_rows) :]:
            for micro_batch in self._micro_batches(batch):
                yield micro_batch[self.ranks.rank :: self.ranks.world_size].tolist()

    def _micro_batches(self, batch: np.ndarray) -> list[np.ndarray]:
        if self.accumulation_steps == 1:
            return [batch]  # WHY not by one: 4 us, a fifth of a step's batch
        return np.array_split(batch, self.accumulation_steps)

    def __len__(self) -> int:
        # The only global batch that is not of G rows is the last one.
        done = self.consumed_rows // self.global_batch_size
        if self.consumed_rows >= self.num_rows:
            done = self.steps_per_epoch
        return max(0, self.steps_per_epoch - done) * self.accumulation_steps

    def _shuffled_rows(self, generator: torch.Generator) -> np.ndarray:
        # WHY 4 bytes a row: the plan of an epoch stays in memory. torch draws the same
        # order as with 8 (torch 2.13; tests/test_batch_sampler.py checks).
        return torch.randperm(
            self.num_rows, generator=generator, dtype=torch.int32
        ).numpy()

    def _generator(self) -> torch.Generator:
        # WHY a generator of its own: the global one also feeds dropout, which differs
        # by rank; the order must not.
        return torch.Generator().manual_seed(self._identity["seed"] + self.epoch)


class ShuffledBatchSampler(GlobalBatchSampler):
    """Global batches of rows in random order.

    Args:
        num_rows: N.
        ranks: Who is asking.
        global_batch_size: G.
        seed: Fixes the shuffles. The same on every rank.
        accumulation_steps: A.

    Raises:
        SettingsError: G does not divide by W * A. The same on every rank.

    Note:
        The last N mod G rows of the epoch's order are left out, other ones each epoch.

    Examples:
        >>> rank_1 = Ranks(1, local_rank=1, world_size=2, device=torch.device("cpu"))
        >>> list(ShuffledBatchSampler(5, rank_1, global_batch_size=4, seed=0))
        [[0, 3]]
    """

    def __init__(
        self,
        num_rows: int,
        ranks: Ranks,
        *,
        global_batch_size: int,
        seed: int,
        accumulation_steps: int = 1,
    ) -> None:
        super().__init__(
            num_rows,
            ranks,
            global_batch_size=global_batch_size,
            accumulation_steps=accumulation_steps,
            identity={"kind": "shuffled", "seed": seed},
        )

    def plan(self) -> list[np.ndarray]:
        """Cut the epoch's shuffle into global batches.

        Returns:
            Rows [G] for each step.
        """
        order = self._shuffled_rows(self._generator())
        num_whole = self.steps_per_epoch * self.global_batch_size
        return list(order[:num_whole].reshape(-1, self.global_batch_size))


class LengthBalancedBatchSampler(GlobalBatchSampler):
    """Global batches of rows of like length; neighbours in length go to the ranks.

    How: shuffle all rows; take the next 50 global batches of them, sort these by
    length, cut them into batches; at the end, shuffle the batches of the whole epoch.
    So which rows meet is partly chance (which pool, who of like length is next) and
    partly length; when a batch comes is pure chance.

    Args:
        lengths: Tokens of each row [N].
        ranks: Who is asking.
        global_batch_size: G.
        seed: Fixes the shuffles. The same on every rank.
        accumulation_steps: A.
        pool_batches: How many global batches are sorted together; 1 sorts nothing but
            the rows inside a batch.
        drop_last: Leave out N mod G rows, random ones, others each epoch. Else half a
            global batch or more is a step of its own, and fewer rows join the batch
            before; micro-batches of that step differ by at most one row. DDP would
            weigh them as if they were equal: see `sync.average_gradients_weighted`.

    Raises:
        SettingsError: G does not divide by W * A; or rows are kept that would leave a
            rank without one. The same on every rank.

    Source: our measurements, site_docs/benchmarks/results/length_balance.json.

    Examples:
        >>> alone = Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
        >>> lengths = [3, 9, 3, 9]
        >>> sampler = LengthBalancedBatchSampler(
        ...     lengths, alone, global_batch_size=2, seed=0
        ... )
        >>> sorted([lengths[row] for row in batch] for batch in sampler)
        [[3, 3], [9, 9]]
    """

    def __init__(
        self,
        lengths: Sequence[int] | np.ndarray,
        ranks: Ranks,
        *,
        global_batch_size: int,
        seed: int,
        accumulation_steps: int = 1,
        pool_batches: int = POOL_BATCHES,
        drop_last: bool = True,
    ) -> None:
        identity = {"kind": "length", "seed": seed, "pool_batches": pool_batches}
        super().__init__(
            len(lengths),
            ranks,
            global_batch_size=global_batch_size,
            accumulation_steps=accumulation_steps,
            identity=identity | {"drop_last": drop_last},
        )
        num_parts = ranks.world_size * accumulation_steps
        if not drop_last and global_batch_size // 2 < num_parts and num_parts > 1:
            raise SettingsError(
                f"drop_last=False with {global_batch_size} rows for {num_parts} parts.",
                why="the last step of an epoch may be half as large, and a rank that "
                "gets no row has no gradient to average.",
                fix=f"--global-batch-size {2 * num_parts}, or drop_last=True.",
                page="batch-size",
            )
        self.lengths = np.asarray(lengths)
        self.pool_batches, self.drop_last = pool_batches, drop_last

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of a whole epoch."""
        num_whole, remainder = divmod(self.num_rows, self.global_batch_size)
        return num_whole + (not self.drop_last and self._is_own_step(remainder))

    def plan(self) -> list[np.ndarray]:
        """Sort pools of shuffled rows by length, cut them, shuffle the batches.

        Returns:
            Rows for each step, short ones first within it.
        """
        generator, size = self._generator(), self.global_batch_size
        order = self._shuffled_rows(generator)
        num_whole = self.num_rows // size * size
        planned_batches = order[:num_whole].reshape(-1, size)  # [steps, G]
        for start in range(0, len(planned_batches), self.pool_batches):
            pool = planned_batches[start : start + self.pool_batches]
            rows = pool.ravel()
            # A stable sort keeps the shuffle among rows of the same length.
            rows_by_length = rows[np.argsort(self.lengths[rows], kind="stable")]
            pool[:] = rows_by_length.reshape(-1, size)
        batch_order = torch.randperm(len(planned_batches), generator=generator).numpy()
        # WHY a copy in the shuffled order: an epoch then reads its plan from front to
        # back; without the copy each batch would be somewhere else in memory.
        batches = list(planned_batches[batch_order])
        remainder = order[num_whole:]
        if not self.drop_last and len(remainder):
            if not self._is_own_step(len(remainder)):
                remainder = np.concatenate([batches.pop(), remainder])
            batches.append(
                remainder[np.argsort(self.lengths[remainder], kind="stable")]
            )
        return batches

    def _is_own_step(self, num_left: int) -> bool:
        # WHY a rule without W: the plan must be the same with any number of ranks.
        is_only_batch = self.num_rows < self.global_batch_size
        return num_left > 0 and (
            is_only_batch or 2 * num_left >= self.global_batch_size
        )


def _steps_done(plan: list[np.ndarray], consumed_rows: int) -> int:
    """Count the global batches in the consumed rows; refuse part of a batch."""
    ends = np.cumsum([0, *(len(batch) for batch in plan)])
    done = int(np.searchsorted(ends, consumed_rows))
    if done >= len(ends) or ends[done] != consumed_rows:
        raise SettingsError(
            f"{consumed_rows} rows are no whole number of global batches of this "
            f"epoch of {ends[-1]} rows.",
            why="part of a global batch would be trained twice or never.",
            fix="advance(global_batch_size) after each optimizer step.",
            page="resume",
        )
    return done
