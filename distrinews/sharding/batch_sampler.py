"""Plan global batches that do not depend on the number of ranks, then split them.

A step of training takes one *global batch*. Which rows are in it must not depend on
how many ranks share it, or two ranks and one process would train different models. So
each sampler here first plans the global batches and then deals the rows of each batch
to the ranks, like cards.

`LengthBalancedBatchSampler` puts rows of similar length together. A batch is padded to
its longest row, and padding takes as much computing as text: random batches of AG News
are two fifths padding. And a step takes as long as its slowest rank: if rows of similar
length are dealt to the ranks, all ranks have the same work.

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

# The number of global batches that are sorted by length together. A larger pool gives
# less padding, and rows of similar length share a batch more often. With 50 batches of
# 32 rows, 2 % of the computing on AG News is padding; with 1 (no sorting) 38 %, with 8
# 12 %, with all rows at once 0.1 %.
POOL_BATCHES = 50


def per_rank_batch_size(
    global_batch_size: int, *, world_size: int, accumulation_steps: int = 1
) -> int:
    """Divide the rows of one optimizer step over the ranks and their micro-batches.

    Why: the rows per *step* decide how a model trains. Two ranks with 32 rows each take
    steps of 64 rows, a different experiment from one process with 32.

    Args:
        global_batch_size: Rows per optimizer step, over all ranks.
        world_size: W.
        accumulation_steps: A.

    Returns:
        B = global_batch_size / (W * A), rows per rank and micro-batch.

    Raises:
        SettingsError: The batch cannot be divided equally. The same on every rank.

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
            fix=f"a global batch size of {nearest} (a chapter: --global-batch-size "
            f"{nearest}).",
            page="batch-size",
        )
    return global_batch_size // num_parts


def padding_share(
    lengths: Sequence[int] | np.ndarray, batches: Sequence[Sequence[int]]
) -> float:
    """Compute the fraction of a model's computing that is spent on padding.

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
    """Base class of both samplers: deal planned global batches to the ranks.

    Use it as `DataLoader(data, batch_sampler=sampler, num_workers=...)`, in torchdata's
    StatefulDataLoader, or iterate over it. The loader then yields this rank's batches.
    Workers may read ahead: the position in a checkpoint follows from
    `TrainingState.step`.

    Note:
        To resume in the middle of an epoch with the same bits, give the DataLoader a
        `generator=torch.Generator()`. Otherwise each iteration of the loader draws a
        number from the random state that dropout uses.
    """

    def __init__(
        self,
        num_rows: int,
        ranks: Ranks,
        *,
        global_batch_size: int,
        accumulation_steps: int,
        drop_last: bool,
        identity: dict[str, Any],
    ) -> None:
        per_rank_batch_size(
            global_batch_size,
            world_size=ranks.world_size,
            accumulation_steps=accumulation_steps,
        )
        row_order = {"num_rows": num_rows, "global_batch_size": global_batch_size}
        super().__init__(
            identity | row_order | {"drop_last": drop_last}, is_main=ranks.is_main
        )
        self.num_rows, self.ranks = num_rows, ranks
        self.global_batch_size = global_batch_size
        self.accumulation_steps, self.drop_last = accumulation_steps, drop_last
        # For the current step: how many of its micro-batches were handed out, and how
        # many the next iteration skips.
        self._handed_out_micro_batches = self._skipped_micro_batches = 0
        num_parts = ranks.world_size * accumulation_steps
        if not drop_last and global_batch_size // 2 < num_parts and num_parts > 1:
            raise SettingsError(
                f"drop_last=False with {global_batch_size} rows for {num_parts} parts.",
                why="the last step of an epoch may be half as large, and a rank that "
                "gets no row has no gradient to average.",
                fix=f"a global batch size of {2 * num_parts}, or drop_last=True.",
                page="batch-size",
            )
        if self.steps_per_epoch == 0:
            raise SettingsError(
                f"{num_rows} rows do not fill a step of {global_batch_size} rows.",
                why="every epoch would be empty, and nothing would be trained.",
                fix=f"a global batch size of at most {num_rows}; without any row, look "
                "at what reads them.",
                page="batch-size",
            )

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of a whole epoch; the same with any number of ranks."""
        num_whole, remainder = divmod(self.num_rows, self.global_batch_size)
        return num_whole + (not self.drop_last and self._is_own_step(remainder))

    def plan(self) -> list[np.ndarray]:
        """Order all rows of the epoch into global batches.

        Returns:
            For each step its rows [G], in the order in which they are dealt to the
            ranks. The same on every rank and for any number of ranks.
        """
        raise NotImplementedError

    def start_at_step(self, step: int) -> None:
        """Start the next iteration after this many optimizer steps of the run.

        Use it instead of `set_epoch` in a loop that may pause in the middle of an
        epoch.

        Args:
            step: Steps trained since the beginning of the run, over all epochs. The
                same on every rank.

        Examples:
            >>> alone = Ranks(0, 0, 1, torch.device("cpu"))
            >>> sampler = ShuffledBatchSampler(8, alone, global_batch_size=2, seed=0)
            >>> sampler.start_at_step(4 + 3)  # three steps of the second epoch are done
            >>> sampler.epoch, len(list(sampler))
            (1, 1)
        """
        epoch, done = divmod(step, self.steps_per_epoch)
        self.start_at(epoch=epoch, consumed_rows=done * self.global_batch_size)

    def state_at(self, step: int) -> dict[str, Any]:
        """Return the position after this many optimizer steps, for a checkpoint.

        Args:
            step: Steps trained since the beginning of the run, over all epochs.

        Returns:
            Plain values that JSON can hold; the same on every rank. The number of
            accumulated micro-batches is only there for the reader.

        Raises:
            SettingsError: The sampler has not handed out that many steps yet. The same
                on every rank.
        """
        handed_out = self.epoch * self.steps_per_epoch + self._steps_handed_out()
        if self._has_begun and not self._has_repeated and step > handed_out:
            raise SettingsError(
                f"step {step} was to be saved, but the sampler has handed out the rows "
                f"of only {handed_out} steps.",
                why="a resumed run would skip the rows in between.",
                fix="count one step after each optimizer.step(), that is, per "
                f"{self.accumulation_steps} of this sampler's micro-batches.",
                page="resume",
            )
        epoch, done = divmod(step, self.steps_per_epoch)
        position = {"epoch": epoch, "consumed_rows": done * self.global_batch_size}
        return (
            self._identity | position | {"accumulation_steps": self.accumulation_steps}
        )

    def start_at(self, *, epoch: int, consumed_rows: int) -> None:
        """Start the next iteration in the middle of an epoch.

        Args:
            epoch: From 0. The same on every rank.
            consumed_rows: Rows of this epoch's order to skip, over all ranks: a whole
                number of global batches.
        """
        super().start_at(epoch=epoch, consumed_rows=consumed_rows)
        self._handed_out_micro_batches = self._skipped_micro_batches = 0

    def state_dict(self) -> dict[str, Any]:
        """Return how far the newest iteration has come, for a loader that saves it.

        Returns:
            As `StatefulSampler.state_dict`; with accumulation, also how many
            micro-batches of the current step were handed out.
        """
        state = super().state_dict()
        if self._handed_out_micro_batches:
            state["micro_batches"] = self._handed_out_micro_batches
            state["accumulation_steps"] = self.accumulation_steps
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at the position that another sampler of the same rows saved.

        Args:
            state: From `state_dict` or `state_at`, saved with any number of ranks.

        Raises:
            SettingsError: It belongs to another order of rows, or to a step with
                another number of micro-batches.
            CheckpointError: It is not such a state. Both the same on every rank.
        """
        super().load_state_dict(state)
        skipped = state.get("micro_batches", 0)
        if skipped and state.get("accumulation_steps") != self.accumulation_steps:
            raise SettingsError(
                f"this position is after {skipped} of "
                f"{state.get('accumulation_steps')} micro-batches of a step; here a "
                f"step has {self.accumulation_steps}.",
                why="part of a global batch would be trained twice or never.",
                fix="resume with that number of micro-batches.",
                page="resume",
            )
        self._handed_out_micro_batches = self._skipped_micro_batches = int(skipped)

    def __iter__(self) -> Iterator[list[int]]:
        start = self._begin()
        skipped, self._skipped_micro_batches = self._skipped_micro_batches, 0
        plan = self.plan()
        return self._hand_out(plan[_steps_done(plan, start) :], skipped)

    def _hand_out(self, plan: list[np.ndarray], skipped: int) -> Iterator[list[int]]:
        """Yield this rank's part of each micro-batch, and record the position."""
        for step, batch in enumerate(plan, start=1):
            for number, micro_batch in enumerate(self._micro_batches(batch), start=1):
                if step == 1 and number <= skipped:
                    continue
                # Before the yield, because a loader asks for the position right after
                # it, and a loop that counts its steps does not return here after the
                # last one.
                self._handed_out_micro_batches = number % self.accumulation_steps
                if number == self.accumulation_steps:
                    self._handed_out_rows += len(batch)
                    self._is_used_up = step == len(plan)
                yield micro_batch[self.ranks.rank :: self.ranks.world_size].tolist()
        self._is_used_up = True

    def _micro_batches(self, batch: np.ndarray) -> list[np.ndarray]:
        if self.accumulation_steps == 1:
            return [batch]  # WHY: array_split by 1 costs 4 us, a fifth of a batch
        return np.array_split(batch, self.accumulation_steps)

    def _steps_handed_out(self) -> int:
        # Only the last global batch may have other than G rows.
        if self._is_used_up:
            return self.steps_per_epoch
        return min(
            self._handed_out_rows // self.global_batch_size, self.steps_per_epoch
        )

    def __len__(self) -> int:
        """Micro-batches per whole epoch, also after a resume in its middle."""
        return self.steps_per_epoch * self.accumulation_steps

    def _shuffled_rows(self, generator: torch.Generator) -> np.ndarray:
        # 4 bytes per row, because the plan of an epoch stays in memory. torch draws the
        # same order as with 8 (torch 2.13; tests/test_batch_sampler.py checks this).
        return torch.randperm(
            self.num_rows, generator=generator, dtype=torch.int32
        ).numpy()

    def _generator(self) -> torch.Generator:
        # A separate generator, because dropout uses the global one and differs by rank;
        # the order must not.
        return torch.Generator().manual_seed(self._identity["seed"] + self.epoch)

    def _with_remainder(
        self, batches: list[np.ndarray], remainder: np.ndarray
    ) -> list[np.ndarray]:
        """The planned batches, and the remaining rows unless they are dropped."""
        if self.drop_last or not len(remainder):
            return batches
        if not self._is_own_step(len(remainder)):
            return [*batches[:-1], np.concatenate([batches[-1], remainder])]
        return [*batches, remainder]

    def _is_own_step(self, num_left: int) -> bool:
        # A rule without W, because the plan must be the same for any number of ranks.
        is_only_batch = self.num_rows < self.global_batch_size
        return num_left > 0 and (
            is_only_batch or 2 * num_left >= self.global_batch_size
        )


class ShuffledBatchSampler(GlobalBatchSampler):
    """Global batches of rows in random order.

    Args:
        num_rows: N.
        ranks: This process.
        global_batch_size: G.
        seed: Fixes the shuffles. The same on every rank.
        accumulation_steps: A.
        drop_last: Leave out the last N mod G rows of the epoch's order; they differ in
            each epoch. Otherwise half a global batch or more becomes one more step, and
            fewer rows join the batch before; the micro-batches of that step differ by
            at most one row. DDP weights them as if they were equal: see
            `sync.average_gradients_weighted`.

    Raises:
        SettingsError: G does not divide by W * A; or an epoch would have no step; or
            rows are kept that would leave a rank without one. The same on every rank.

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
        drop_last: bool = True,
    ) -> None:
        super().__init__(
            num_rows,
            ranks,
            global_batch_size=global_batch_size,
            accumulation_steps=accumulation_steps,
            drop_last=drop_last,
            identity={"kind": "shuffled", "seed": seed},
        )

    def plan(self) -> list[np.ndarray]:
        """Cut the epoch's shuffle into global batches.

        Returns:
            Rows for each step.
        """
        order, size = self._shuffled_rows(self._generator()), self.global_batch_size
        num_whole = self.num_rows // size * size
        batches = list(order[:num_whole].reshape(-1, size))
        return self._with_remainder(batches, order[num_whole:])


class LengthBalancedBatchSampler(GlobalBatchSampler):
    """Global batches of rows with similar lengths, dealt to the ranks by length.

    How: shuffle all rows; take the next 50 global batches, sort their rows by length,
    and cut them into batches; at the end, shuffle the batches of the whole epoch. So
    the rows of a batch depend partly on chance (the pool, and the order of equal
    lengths) and partly on length; the position of a batch in the epoch is pure chance.

    Args:
        lengths: Tokens of each row [N].
        ranks: This process.
        global_batch_size: G.
        seed: Fixes the shuffles. The same on every rank.
        accumulation_steps: A.
        pool_batches: How many global batches are sorted together; 1 sorts only the rows
            within each batch.
        drop_last: Leave out N mod G random rows, which differ in each epoch. Otherwise
            half a global batch or more becomes one more step, and fewer rows join the
            batch before; the micro-batches of that step differ by at most one row. DDP
            weights them as if they were equal: see `sync.average_gradients_weighted`.

    Raises:
        SettingsError: G does not divide by W * A; or an epoch would have no step; or
            rows are kept that would leave a rank without one. The same on every rank.

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
        super().__init__(
            len(lengths),
            ranks,
            global_batch_size=global_batch_size,
            accumulation_steps=accumulation_steps,
            drop_last=drop_last,
            identity={"kind": "length", "seed": seed, "pool_batches": pool_batches},
        )
        self.lengths, self.pool_batches = np.asarray(lengths), pool_batches

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
        # A copy in the shuffled order, so that an epoch reads its plan from front to
        # back; without the copy the batches would be scattered in memory.
        batches = list(planned_batches[batch_order])
        *others, last = self._with_remainder(batches, order[num_whole:])
        return [*others, last[np.argsort(self.lengths[last], kind="stable")]]


def _steps_done(plan: list[np.ndarray], consumed_rows: int) -> int:
    """Count the global batches in the consumed rows; refuse part of a batch."""
    ends = np.cumsum([0, *(len(batch) for batch in plan)])
    done = int(np.searchsorted(ends, consumed_rows))
    if done >= len(ends) or ends[done] != consumed_rows:
        raise SettingsError(
            f"{consumed_rows} rows are not a whole number of global batches of this "
            f"epoch of {ends[-1]} rows.",
            why="part of a global batch would be trained twice or never.",
            fix="resume with the global batch size of that run.",
            page="resume",
        )
    return done
