"""Proofs for sharding.batch_sampler: like lengths together, each row once, shuffled."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from distrinews.dist import Ranks
from distrinews.errors import SettingsError
from distrinews.sharding.batch_sampler import (
    POOL_BATCHES,
    LengthBalancedBatchSampler,
    ShuffledBatchSampler,
    padding_share,
    per_rank_batch_size,
)

RNG = random.Random(1)
# Like headlines with their first sentences: most near 50 tokens, a few very long.
LENGTHS = [min(128, int(RNG.lognormvariate(3.9, 0.3))) for _ in range(3217)]
SIZE = 32


def rank_of(rank: int, world_size: int) -> Ranks:
    return Ranks(rank, rank, world_size, device=torch.device("cpu"))


def balanced(
    ranks: Ranks,
    *,
    epoch: int = 0,
    accumulation_steps: int = 1,
    lengths: list[int] = LENGTHS,
) -> LengthBalancedBatchSampler:
    sampler = LengthBalancedBatchSampler(
        lengths,
        ranks,
        global_batch_size=SIZE,
        seed=7,
        accumulation_steps=accumulation_steps,
    )
    sampler.set_epoch(epoch)
    return sampler


def steps(
    world_size: int, *, epoch: int = 0, accumulation_steps: int = 1
) -> list[list[list[int]]]:
    """For each step the micro-batches of all ranks."""
    by_rank = []
    for rank in range(world_size):
        sampler = balanced(
            rank_of(rank, world_size),
            epoch=epoch,
            accumulation_steps=accumulation_steps,
        )
        local_batches = list(sampler)
        assert (
            len(local_batches)
            == len(sampler)
            == sampler.steps_per_epoch * accumulation_steps
        )
        by_rank.append([
            local_batches[i : i + accumulation_steps]
            for i in range(0, len(local_batches), accumulation_steps)
        ])
    return [
        [rows for part in step for rows in part] for step in zip(*by_rank, strict=True)
    ]


def rows_of(step: list[list[int]]) -> list[int]:
    return sorted(row for rows in step for row in rows)


@pytest.mark.parametrize(
    ("world_size", "accumulation_steps"),
    [(1, 2), (2, 1), (2, 4), (4, 2), (8, 1), (32, 1)],
)
def test_the_global_batches_do_not_depend_on_who_shares_them(
    world_size: int, accumulation_steps: int
) -> None:
    for epoch in (0, 3):
        alone = [rows_of(step) for step in steps(1, epoch=epoch)]
        shared = steps(world_size, epoch=epoch, accumulation_steps=accumulation_steps)
        assert [rows_of(step) for step in shared] == alone
        counts = {len(rows) for step in shared for rows in step}
        assert counts == {SIZE // world_size // accumulation_steps}


def test_each_row_comes_once_in_an_epoch_but_for_the_declared_rest() -> None:
    left_out = []
    for epoch in range(3):
        rows = [row for step in steps(2, epoch=epoch) for row in rows_of(step)]
        assert len(rows) == len(set(rows)) == 3217 // SIZE * SIZE
        left_out.append(set(range(3217)) - set(rows))
    assert all(len(rest) == 3217 % SIZE == 17 for rest in left_out)
    assert left_out[0] != left_out[1] != left_out[2], "other rows each epoch"


def shuffled(lengths: list[int], ranks: Ranks, **kept: Any) -> ShuffledBatchSampler:
    return ShuffledBatchSampler(len(lengths), ranks, **kept)


@pytest.mark.parametrize("new", [LengthBalancedBatchSampler, shuffled])
@pytest.mark.parametrize(
    ("num_rows", "sizes"),
    [
        (96, [32, 32, 32]),
        (97, [32, 32, 33]),  # one row more is no step of its own
        (111, [32, 32, 47]),
        (112, [32, 32, 32, 16]),  # half a batch is
        (20, [20]),
    ],
)
def test_with_drop_last_off_every_row_comes_once_and_counts_differ_by_one(
    new: Callable[..., ShuffledBatchSampler], num_rows: int, sizes: list[int]
) -> None:
    for world_size in (1, 2, 4):
        parts = []
        for rank in range(world_size):
            kept = {"global_batch_size": SIZE, "seed": 0, "drop_last": False}
            ranks = rank_of(rank, world_size)
            sampler = new(LENGTHS[:num_rows], ranks, **kept)
            parts.append(list(sampler))
            assert len(parts[-1]) == len(sampler) == sampler.steps_per_epoch
        together = list(zip(*parts, strict=True))
        assert [sum(len(rows) for rows in step) for step in together] == sizes
        for step in together:
            counts = [len(rows) for rows in step]
            assert max(counts) - min(counts) <= 1
            assert min(counts) > 0, "a rank without a row has no gradient"
        everything = sorted(row for step in together for rows in step for row in rows)
        assert everything == list(range(num_rows))


@pytest.mark.parametrize(("num_rows", "drops"), [(0, False), (0, True), (31, True)])
def test_an_epoch_without_a_step_is_refused(num_rows: int, drops: bool) -> None:
    with pytest.raises(SettingsError, match=f"{num_rows} rows do not fill a step"):
        ShuffledBatchSampler(
            num_rows, rank_of(0, 1), global_batch_size=SIZE, seed=0, drop_last=drops
        )


def test_kept_rows_that_could_leave_a_rank_without_one_are_refused() -> None:
    with pytest.raises(SettingsError, match="drop_last=False") as caught:
        LengthBalancedBatchSampler(
            LENGTHS, rank_of(0, 4), global_batch_size=4, seed=0, drop_last=False
        )
    assert caught.value.fix.startswith("a global batch size of 8")


# --- Going on after a stop ------------------------------------------------------


@pytest.mark.parametrize("after", [(1, 1), (2, 1), (2, 2), (4, 1)])
def test_after_any_step_any_number_of_ranks_goes_on_without_a_gap(
    after: tuple[int, int],
) -> None:
    lengths = LENGTHS[:300]
    whole = [rows_of([rows]) for rows in balanced(rank_of(0, 1), lengths=lengths)]
    first = balanced(rank_of(1, 2), lengths=lengths)
    position = first.state_dict()
    batches = iter(first)
    world_size, accumulation_steps = after
    for done in range(len(whole) + 1):
        parts = []
        for rank in range(world_size):
            second = balanced(
                rank_of(rank, world_size),
                accumulation_steps=accumulation_steps,
                lengths=lengths,
            )
            second.load_state_dict(position)
            second.set_epoch(0)
            assert len(second) == len(whole) * accumulation_steps  # of an epoch
            local_batches = list(second)
            parts.append([
                local_batches[i : i + accumulation_steps]
                for i in range(0, len(local_batches), accumulation_steps)
            ])
        left = [
            rows_of([r for p in step for r in p]) for step in zip(*parts, strict=True)
        ]
        assert left == whole[done:]
        next(batches, None)
        position = first.state_dict()


def test_half_a_global_batch_is_no_place_to_go_on_from() -> None:
    sampler = balanced(rank_of(0, 2))
    sampler.start_at(epoch=0, consumed_rows=SIZE // 2)
    with pytest.raises(SettingsError, match="not a whole number of global batches"):
        next(iter(sampler))


def test_a_place_in_another_kind_of_batches_is_refused() -> None:
    shuffled = ShuffledBatchSampler(3217, rank_of(0, 1), global_batch_size=SIZE, seed=7)
    with pytest.raises(SettingsError, match="kind was 'shuffled', is 'length'"):
        balanced(rank_of(0, 1)).load_state_dict(shuffled.state_dict())


# --- What it is for -------------------------------------------------------------


def computed_and_text(step: list[list[int]]) -> tuple[int, int]:
    """Places that the slowest rank computes, times the ranks; and tokens of text."""
    widest = max(len(rows) * max(LENGTHS[row] for row in rows) for rows in step)
    return widest * len(step), sum(LENGTHS[row] for rows in step for row in rows)


def waste(plan: list[list[list[int]]]) -> float:
    """The part of all ranks' time that goes into padding or waiting."""
    positions, tokens = zip(*(computed_and_text(step) for step in plan), strict=True)
    return 1 - sum(tokens) / sum(positions)


def shuffled_steps(world_size: int) -> list[list[list[int]]]:
    by_rank = [
        list(
            ShuffledBatchSampler(
                len(LENGTHS), rank_of(rank, world_size), global_batch_size=SIZE, seed=7
            )
        )
        for rank in range(world_size)
    ]
    return [list(step) for step in zip(*by_rank, strict=True)]


def grouped_by_each_rank(world_size: int) -> list[list[list[int]]]:
    """Each rank sorts its own rows, as samplers that know nothing of ranks do."""
    whole_batches = LENGTHS[: len(LENGTHS) // SIZE * SIZE]
    size = SIZE // world_size
    by_rank = []
    for rank in range(world_size):
        rows = sorted(
            range(rank, len(whole_batches), world_size), key=LENGTHS.__getitem__
        )
        batches = [rows[i : i + size] for i in range(0, len(rows), size)]
        random.Random(rank).shuffle(batches)
        by_rank.append(batches)
    return [list(step) for step in zip(*by_rank, strict=True)]


def test_little_is_padded_and_no_rank_waits() -> None:
    for world_size in (2, 4):
        assert waste(steps(world_size)) < 0.04
        # Negative controls: random batches; and grouping that each rank does alone,
        # which pads little but lets the ranks wait for the longest.
        assert waste(shuffled_steps(world_size)) > 0.3
        assert waste(grouped_by_each_rank(world_size)) > 0.15


def test_in_each_step_the_ranks_get_neighbours_in_length() -> None:
    gaps = []
    for step in steps(2):
        first, second = (sorted(LENGTHS[row] for row in rows) for rows in step)
        gaps.append(max(first) - max(second))
    assert np.mean(np.abs(gaps)) < 1  # tokens
    apart = [
        abs(max(LENGTHS[r] for r in a) - max(LENGTHS[r] for r in b))
        for a, b in shuffled_steps(2)
    ]
    assert np.mean(apart) > 10  # negative control


def test_padding_share_counts_places() -> None:
    # Widths 4 and 2, two rows each: 12 places, 2 + 4 + 1 + 2 = 9 tokens.
    assert padding_share([2, 4, 1, 2], [[0, 1], [2, 3]]) == pytest.approx(3 / 12)
    assert padding_share([], []) == 0


# --- How random it is -----------------------------------------------------------


def test_when_a_batch_comes_says_nothing_about_its_length() -> None:
    """A uniform shuffle of 100 batches correlates by 0.1 in the root mean square."""
    correlations = []
    for epoch in range(10):
        means = [
            np.mean([LENGTHS[row] for row in rows_of(s)]) for s in steps(1, epoch=epoch)
        ]
        correlations.append(np.corrcoef(means, range(len(means)))[0, 1])
    assert np.sqrt(np.mean(np.square(correlations))) < 0.2
    # Negative control: batches in the order in which they are cut.
    pool = sorted(range(len(LENGTHS)), key=LENGTHS.__getitem__)
    cut = [np.mean([LENGTHS[r] for r in pool[i : i + 32]]) for i in range(0, 3200, 32)]
    assert np.corrcoef(cut, range(100))[0, 1] > 0.8


def pairs(plan: list[list[int]]) -> set[tuple[int, int]]:
    return {pair for rows in plan for pair in itertools.combinations(rows, 2)}


def meets_again(plan: Callable[[int], list[list[int]]]) -> float:
    """Of the pairs of rows that share a batch in epoch 0, how many do in epoch 1."""
    first, second = plan(0), plan(1)
    batch_of = {row: i for i, rows in enumerate(second) for row in rows}
    both = [(a, b) for a, b in pairs(first) if {a, b} <= batch_of.keys()]
    return sum(batch_of[a] == batch_of[b] for a, b in both) / len(both)


def test_who_meets_whom_changes_from_epoch_to_epoch() -> None:
    """How far from uniform: of the pairs that met once, how many meet again.

    In a uniform shuffle 31 / 3199 = 1 % do. Rows of like length meet more often: 24 %
    here, where two pools make an epoch; the more pools there are, the fewer.
    """

    def uniform(epoch: int) -> list[list[int]]:
        order = list(range(3200))
        random.Random(epoch).shuffle(order)
        return [order[i : i + SIZE] for i in range(0, 3200, SIZE)]

    def all_at_once(epoch: int) -> list[list[int]]:
        ranked = sorted(itertools.chain(*uniform(epoch)), key=lambda row: LENGTHS[row])
        return [ranked[i : i + SIZE] for i in range(0, 3200, SIZE)]

    def ours(epoch: int) -> list[list[int]]:
        return [rows_of(step) for step in steps(1, epoch=epoch)]

    rates = {plan.__name__: meets_again(plan) for plan in (uniform, ours, all_at_once)}
    print(f"\n[balance] pairs that meet again in the next epoch: {rates}")
    assert rates["uniform"] == pytest.approx(31 / 3199, rel=0.1)
    assert rates["ours"] < 0.3
    assert rates["all_at_once"] > rates["ours"]  # what the pools are for


def test_each_epoch_has_its_own_batches_and_a_forgotten_set_epoch_has_not() -> None:
    sampler = balanced(rank_of(0, 1))
    first, forgotten = list(sampler), list(sampler)
    assert first == forgotten  # negative control
    sampler.set_epoch(1)
    assert not {tuple(sorted(b)) for b in first} & {tuple(sorted(b)) for b in sampler}


# --- In use ---------------------------------------------------------------------


def test_torchs_data_loader_takes_it_as_a_batch_sampler() -> None:
    loader: DataLoader[int] = DataLoader(
        range(3217),  # type: ignore[arg-type]
        batch_sampler=balanced(rank_of(1, 2)),
    )
    got = [batch.tolist() for batch in loader]
    assert got == list(balanced(rank_of(1, 2)))
    assert len(loader) == len(got) == 100


def test_120_000_rows_are_planned_in_a_fraction_of_a_second() -> None:
    generator = np.random.default_rng(0)
    sampler = LengthBalancedBatchSampler(
        generator.integers(20, 128, 120_000).tolist(),
        rank_of(0, 2),
        global_batch_size=SIZE,
        seed=0,
    )
    began_s = time.perf_counter()
    assert len(sampler.plan()) == 3750
    assert time.perf_counter() - began_s < 0.5  # 0.03 s measured
    assert POOL_BATCHES == 50


def test_a_batch_that_does_not_divide_by_ranks_and_pieces_is_an_error() -> None:
    with pytest.raises(
        SettingsError, match="2 ranks of 3 micro-batches each"
    ) as caught:
        per_rank_batch_size(32, world_size=2, accumulation_steps=3)
    assert caught.value.fix.startswith("a global batch size of 30 ")
    with pytest.raises(SettingsError, match="does not divide"):
        ShuffledBatchSampler(10, rank_of(0, 3), global_batch_size=8, seed=0)


def test_an_order_of_four_bytes_a_row_is_that_of_eight() -> None:
    """Orders that older versions trained in must not change: runs are resumed."""
    sampler = ShuffledBatchSampler(1000, rank_of(0, 1), global_batch_size=10, seed=3)
    generator = torch.Generator().manual_seed(3)
    wanted = torch.randperm(1000, generator=generator).tolist()  # int64
    assert np.concatenate(sampler.plan()).tolist() == wanted
    assert list(range(1000)) != wanted  # negative control
