"""Proofs for distrinews.sharding: who reads which row."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from torch.utils.data import DistributedSampler

from distrinews import sharding
from distrinews.dist import Ranks
from distrinews.errors import CheckpointError, SettingsError
from distrinews.sharding import ShardSampler, ShuffledBatchSampler


def rank_of(rank: int, world_size: int) -> Ranks:
    return Ranks(
        rank, local_rank=rank, world_size=world_size, device=torch.device("cpu")
    )


def test_the_sampler_equals_torchs_index_for_index() -> None:
    grid = itertools.product(
        (1, 2, 3, 5, 16, 100, 101), (1, 2, 3, 4, 7), (False, True), (False, True)
    )
    compared = 0
    for (num_rows, world_size, shuffle, drop_last), epoch in itertools.product(
        grid, (0, 1, 9)
    ):
        if drop_last and num_rows < world_size:
            continue  # torch yields padding there, against its own documentation
        for rank in range(world_size):
            torch_sampler: DistributedSampler[int] = DistributedSampler(
                range(num_rows),
                num_replicas=world_size,
                rank=rank,
                shuffle=shuffle,
                seed=6,
                drop_last=drop_last,
            )
            torch_sampler.set_epoch(epoch)
            sampler = ShardSampler(
                num_rows,
                rank_of(rank, world_size),
                seed=6,
                shuffle=shuffle,
                drop_last=drop_last,
            )
            sampler.set_epoch(epoch)
            assert list(sampler) == list(torch_sampler), (
                num_rows,
                world_size,
                rank,
                epoch,
            )
            assert len(sampler) == len(torch_sampler)
            compared += 1
    assert compared > 1000


def test_more_ranks_than_rows_repeat_the_rows_until_every_rank_has_one() -> None:
    got = [
        list(ShardSampler(2, rank_of(r, 5), seed=0, shuffle=False)) for r in range(5)
    ]
    assert got == [[0], [1], [0], [1], [0]]
    dropped = ShardSampler(2, rank_of(0, 5), seed=0, drop_last=True)
    assert (list(dropped), len(dropped)) == ([], 0)


def global_batches(
    num_rows: int, world_size: int, *, epoch: int, seed: int = 3
) -> list[set[int]]:
    """The rows of each optimizer step, over all ranks."""
    by_rank = []
    for rank in range(world_size):
        sampler = ShuffledBatchSampler(
            num_rows, rank_of(rank, world_size), global_batch_size=8, seed=seed
        )
        sampler.set_epoch(epoch)
        by_rank.append(list(sampler))
    assert len({len(batches) for batches in by_rank}) == 1, "ranks would wait for ever"
    return [
        {row for part in step for row in part} for step in zip(*by_rank, strict=True)
    ]


@pytest.mark.parametrize("num_rows", [8, 64, 67, 71, 100])
def test_the_global_batches_are_the_same_for_1_2_4_and_8_ranks(num_rows: int) -> None:
    for epoch in (0, 1):
        alone = global_batches(num_rows, 1, epoch=epoch)
        assert len(alone) == num_rows // 8
        assert all(len(step) == 8 for step in alone)
        assert len(set().union(*alone)) == 8 * len(alone), "a row was read twice"
        for world_size in (2, 4, 8):
            assert global_batches(num_rows, world_size, epoch=epoch) == alone


def test_cutting_in_halves_instead_of_dealing_gives_other_batches() -> None:
    """Negative control: torch.chunk would train something else than one process."""
    order = list(ShardSampler(64, rank_of(0, 1), seed=3))
    halves = order[:32], order[32:]
    cut = [set(halves[0][i : i + 4] + halves[1][i : i + 4]) for i in range(0, 32, 4)]
    assert cut != global_batches(64, 2, epoch=0)


def test_each_epoch_has_its_own_order_and_other_rows_left_out() -> None:
    first, second = (global_batches(67, 2, epoch=epoch) for epoch in (0, 1))
    assert first != second
    assert set().union(*first) != set().union(*second)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_forgotten_set_epoch_repeats_the_order_of_the_first_and_rank_0_warns(
    rank: int, caplog: pytest.LogCaptureFixture
) -> None:
    sampler = ShardSampler(64, rank_of(rank, 2), seed=3)
    first = list(sampler)
    assert caplog.text == ""
    assert list(sampler) == first
    assert ("epoch 0 is read again" in caplog.text) == (rank == 0)
    caplog.clear()
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert caplog.text == ""  # negative control
    sampler.set_epoch(0)
    assert ("set_epoch(0) after epoch 1" in caplog.text) == (rank == 0)


def test_ranks_with_different_seeds_would_read_rows_twice_and_others_never() -> None:
    """Negative control: the seed must be the same on every rank."""
    same = [*ShardSampler(64, rank_of(0, 2), seed=1)]
    assert sorted([*same, *ShardSampler(64, rank_of(1, 2), seed=1)]) == list(range(64))
    assert len({*same, *ShardSampler(64, rank_of(1, 2), seed=2)}) < 64


def test_the_order_is_untouched_by_the_noise_that_differs_by_rank() -> None:
    sampler = ShardSampler(64, rank_of(0, 2), seed=3)
    torch.manual_seed(1)
    first = list(sampler)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert list(sampler) == first
    assert torch.equal(torch.get_rng_state(), state), "it drew from dropout's noise"


def test_the_shuffled_batches_are_the_single_rows_sampler_cut_into_pieces() -> None:
    for rank in range(2):
        rows = list(ShardSampler(67, rank_of(rank, 2), seed=3, drop_last=True))
        batches = list(
            ShuffledBatchSampler(67, rank_of(rank, 2), global_batch_size=8, seed=3)
        )
        assert batches == [rows[i : i + 4] for i in range(0, 32, 4)]


# --- Going on after a stop ------------------------------------------------------


@pytest.mark.parametrize("num_rows", [1, 7, 30, 31])
@pytest.mark.parametrize("drop_last", [False, True])
def test_after_a_stop_any_number_of_ranks_reads_what_is_left_and_nothing_else(
    num_rows: int, drop_last: bool
) -> None:
    for consumed, world_size in itertools.product(range(num_rows + 1), (1, 2, 3, 4)):
        read: list[int] = []
        padding = set()
        for rank in range(world_size):
            ranks = rank_of(rank, world_size)
            sampler = ShardSampler(num_rows, ranks, seed=5, drop_last=drop_last)
            sampler.start_at(epoch=2, consumed_rows=consumed)
            padding.add(sampler.num_padding)
            local_rows = list(sampler)
            read += local_rows
        alone = ShardSampler(num_rows, rank_of(0, 1), seed=5)
        alone.set_epoch(2)
        left = list(alone)[consumed:]
        assert set(read) <= set(left), "a row was trained twice"
        if drop_last:
            assert len(read) == len(set(read)) == len(left) // world_size * world_size
            assert padding == {0}
        else:
            assert set(read) == set(left), "a row was skipped"
            assert padding == {len(read) - len(left)}, "padding must be declared"


def test_a_position_goes_from_two_ranks_to_three_and_keeps_its_epoch() -> None:
    two = ShardSampler(30, rank_of(0, 2), seed=5)
    two.start_at(epoch=4, consumed_rows=12)
    three = ShardSampler(30, rank_of(1, 3), seed=5)
    three.load_state_dict(two.state_dict())
    three.set_epoch(4)  # as every run does: it must not send it back to the start
    whole = ShardSampler(30, rank_of(0, 1), seed=5)
    whole.set_epoch(4)
    assert list(three) == list(whole)[12:][1::3]
    three.set_epoch(5)
    assert three.state_dict()["consumed_rows"] == 0


def test_reading_is_not_training() -> None:
    """Reading ahead, as a DataLoader does, moves no checkpoint's position."""
    sampler = ShuffledBatchSampler(32, rank_of(0, 2), global_batch_size=4, seed=5)
    assert len(list(sampler)) == 8
    assert sampler.state_at(3)["consumed_rows"] == 3 * 4
    assert sampler.state_dict()["consumed_rows"] == 32  # for a loader's own state


@pytest.mark.parametrize("other", [{"num_rows": 31}, {"seed": 6}, {"shuffle": False}])
def test_a_position_in_another_order_is_refused_and_changes_nothing(
    other: dict[str, Any],
) -> None:
    state = {"num_rows": 30, "seed": 5, "shuffle": True, "epoch": 1} | other
    sampler = ShardSampler(30, rank_of(0, 1), seed=5)
    [name] = other
    with pytest.raises(SettingsError, match=f"{name} was "):
        sampler.load_state_dict(state | {"consumed_rows": 3})
    position = sampler.state_dict()
    assert (position["epoch"], position["consumed_rows"]) == (0, 0)


@pytest.mark.parametrize("place", [None, -1, 1.5, "3", True, [3]])
@pytest.mark.parametrize("name", ["epoch", "consumed_rows"])
def test_a_position_that_is_no_count_is_refused(name: str, place: object) -> None:
    sampler = ShardSampler(30, rank_of(0, 1), seed=5)
    with pytest.raises(CheckpointError, match="not two counts"):
        sampler.load_state_dict(sampler.state_dict() | {name: place})


# --- Evaluation -----------------------------------------------------------------

DICE = random.Random(0)
LENGTHS = [DICE.randrange(3, 60) for _ in range(1003)]


def evaluation_plan(world_size: int) -> list[list[list[int]]]:
    return [
        sharding.evaluation_batches(LENGTHS, rank_of(rank, world_size), batch_size=64)
        for rank in range(world_size)
    ]


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 7, 20])
def test_every_row_is_evaluated_once_and_in_the_same_company(world_size: int) -> None:
    [alone] = evaluation_plan(1)
    shared = [
        batch for local_rows in evaluation_plan(world_size) for batch in local_rows
    ]
    assert sorted(row for batch in shared for row in batch) == list(range(1003))
    assert sorted(shared) == sorted(alone)
    assert len(alone) == 16  # 1003 / 64, rounded up


def test_ranks_differ_by_at_most_one_batch_and_spare_ranks_get_none() -> None:
    for world_size in (2, 3, 5, 7, 20):
        counts = [len(local_rows) for local_rows in evaluation_plan(world_size)]
        assert max(counts) - min(counts) <= 1
    assert min(counts) == 0
    assert sharding.evaluation_batches([], rank_of(0, 1), batch_size=64) == []


def test_sorting_by_length_needs_less_padding_than_the_order_of_the_file() -> None:
    def padded(batches: list[list[int]]) -> int:
        return sum(len(b) * max(LENGTHS[row] for row in b) for b in batches)

    [alone] = evaluation_plan(1)
    in_order = [list(range(i, min(i + 64, 1003))) for i in range(0, 1003, 64)]
    assert padded(alone) < 1.1 * sum(LENGTHS) < padded(in_order)


# --- per_rank_batch_size --------------------------------------------------------


def test_the_global_batch_is_divided() -> None:
    sizes = [sharding.per_rank_batch_size(48, world_size=w) for w in (1, 2, 3, 48)]
    assert sizes == [48, 24, 16, 1]


@pytest.mark.parametrize(
    ("size", "ranks", "instead"), [(32, 3, 33), (32, 5, 30), (1, 2, 2), (3, 64, 64)]
)
def test_a_batch_that_does_not_divide_is_an_error_whose_cure_works(
    size: int, ranks: int, instead: int
) -> None:
    with pytest.raises(SettingsError, match=f"{size} rows does not .* {ranks}") as e:
        sharding.per_rank_batch_size(size, world_size=ranks)
    assert e.value.fix.startswith(f"a global batch size of {instead} ")
    assert sharding.per_rank_batch_size(instead, world_size=ranks) == instead // ranks
