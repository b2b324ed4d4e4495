"""Proofs that the samplers work in loaders with workers, killed in mid-epoch or not.

The model, the data and the loop are a user's own: a plain DataLoader with workers.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.running import HAS_WINDOWS_RULES, is_running, wait_until
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, IterableDataset

from distrinews import checkpoint, dist, sharding, sync
from distrinews.errors import RankFailedError, SettingsError

pytestmark = pytest.mark.timeout(240)

NUM_ROWS, GLOBAL_BATCH, EPOCHS = 64, 4, 2
STEPS_PER_EPOCH = NUM_ROWS // GLOBAL_BATCH
SAVE_EVERY, KILLED_AT = 5, 23  # in the second epoch, three steps after a checkpoint
CPU = torch.device("cpu")


class Rows(Dataset[tuple[int, torch.Tensor]]):
    """Row number and features."""

    def __len__(self) -> int:
        return NUM_ROWS

    def __getitem__(self, row: int) -> tuple[int, torch.Tensor]:
        return row, torch.full((3,), float(row))


def train(
    ranks: dist.Ranks,
    out: Path,
    killed_at: int | None = None,
    accumulation_steps: int = 1,
    has_generator: bool = True,
) -> None:
    """Train with two workers a rank; log the rows of each step that was taken."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    torch.manual_seed(1 + ranks.rank)
    replica = DistributedDataParallel(net) if ranks.world_size > 1 else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    sampler = sharding.ShuffledBatchSampler(
        NUM_ROWS,
        ranks,
        global_batch_size=GLOBAL_BATCH,
        seed=7,
        accumulation_steps=accumulation_steps,
    )
    loader = DataLoader(
        Rows(),
        batch_sampler=sampler,
        num_workers=2,
        generator=torch.Generator() if has_generator else None,
        # A lambda: under `launch`, as under torchrun on Linux, workers are forked.
        worker_init_fn=lambda _: (out / f"worker{os.getpid()}").touch(),
    )
    state = checkpoint.TrainingState(replica, optimizer, sampler=sampler)
    checkpoint.restore(out / "checkpoints", state)
    log = out / f"rank{ranks.rank}.jsonl"
    for epoch in range(sampler.epoch, EPOCHS):
        sampler.set_epoch(epoch)
        assert len(loader) == STEPS_PER_EPOCH * accumulation_steps
        rows: list[int] = []
        for number, (numbers, features) in enumerate(loader, start=1):
            is_last = number % accumulation_steps == 0
            with sync.no_sync_unless(is_last, replica=replica):
                (replica(features).square().mean() / accumulation_steps).backward()
            rows += numbers.tolist()
            if not is_last:
                continue
            optimizer.step()
            optimizer.zero_grad()
            state.step += 1
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps([state.step, rows]) + "\n")
            rows = []
            if state.step == killed_at and ranks.rank == ranks.world_size - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if state.step % SAVE_EVERY == 0:
                checkpoint.save(out / "checkpoints", state)
        assert len(loader) == STEPS_PER_EPOCH * accumulation_steps
    if ranks.is_main:
        flat = torch.cat([value.flatten() for value in net.state_dict().values()])
        digest = hashlib.sha256(flat.numpy().tobytes()).hexdigest()
        (out / "end.txt").write_text(digest, encoding="utf-8")


def rows_by_step(out: Path, num_ranks: int) -> dict[int, list[int]]:
    """The rows that the last attempt at each step trained, over all ranks."""
    trained: dict[int, list[int]] = {}
    for rank in range(num_ranks):
        lines = (out / f"rank{rank}.jsonl").read_text(encoding="utf-8").splitlines()
        last = dict(map(json.loads, lines))
        for step, rows in last.items():
            trained.setdefault(step, []).extend(rows)
    return trained


def run(out: Path, num_ranks: int, *options: Any) -> None:
    out.mkdir(parents=True, exist_ok=True)
    dist.launch(train, out, *options, num_ranks=num_ranks, timeout_s=60)


needs_sigkill = pytest.mark.skipif(
    sys.platform != "linux" or HAS_WINDOWS_RULES,
    reason="no SIGKILL, or workers that take no lambda, or that see no parent's end",
)


@needs_sigkill
@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_killed_in_mid_epoch_with_two_workers_every_row_is_trained_once(
    tmp_path: Path, accumulation_steps: int
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(whole, 2, None, accumulation_steps)
    with pytest.raises(RankFailedError, match="rank 1 was killed by SIGKILL"):
        run(killed, 2, KILLED_AT, accumulation_steps)
    workers = [int(path.name[6:]) for path in killed.glob("worker*")]
    assert len(workers) == 2 * 2 * EPOCHS
    wait_until(
        lambda: not any(map(is_running, workers)), timeout_s=60, what="workers end"
    )
    run(killed, 2, None, accumulation_steps)
    steps = rows_by_step(killed, 2)
    assert sorted(steps) == list(range(1, EPOCHS * STEPS_PER_EPOCH + 1))
    for epoch in range(EPOCHS):
        first = 1 + epoch * STEPS_PER_EPOCH
        rows = [r for s in range(first, first + STEPS_PER_EPOCH) for r in steps[s]]
        assert sorted(rows) == list(range(NUM_ROWS))
    assert steps == rows_by_step(whole, 2)
    # With dropout: the same bits, so its random numbers went on, too.
    assert (killed / "end.txt").read_text() == (whole / "end.txt").read_text()


@needs_sigkill
@pytest.mark.slow
def test_two_ranks_go_on_as_one_with_the_same_rows(tmp_path: Path) -> None:
    with pytest.raises(RankFailedError):
        run(tmp_path, 2, KILLED_AT)
    run(tmp_path, 1)
    alone = rows_by_step(tmp_path, 1)
    last_saved = KILLED_AT // SAVE_EVERY * SAVE_EVERY
    rows = [r for step in range(last_saved + 1, 33) for r in alone[step]]
    before = rows_by_step(tmp_path, 2)
    rows += [r for s in range(STEPS_PER_EPOCH + 1, last_saved + 1) for r in before[s]]
    assert sorted(rows) == list(range(NUM_ROWS))


@needs_sigkill
@pytest.mark.slow
def test_a_loader_without_a_generator_shifts_the_noise_of_a_resumed_run(
    tmp_path: Path,
) -> None:
    """Negative control: the loader draws from the state that dropout uses."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(whole, 2, None, 1, False)
    with pytest.raises(RankFailedError):
        run(killed, 2, KILLED_AT, 1, False)
    run(killed, 2, None, 1, False)
    assert rows_by_step(killed, 2) == rows_by_step(whole, 2)  # the rows are right
    assert (killed / "end.txt").read_text() != (whole / "end.txt").read_text()


def rank_of(rank: int, world_size: int = 2) -> dist.Ranks:
    return dist.Ranks(rank, rank, world_size, CPU)


def new_sampler(
    rank: int = 0, *, accumulation_steps: int = 1
) -> sharding.ShuffledBatchSampler:
    return sharding.ShuffledBatchSampler(
        NUM_ROWS,
        rank_of(rank),
        global_batch_size=GLOBAL_BATCH,
        seed=7,
        accumulation_steps=accumulation_steps,
    )


def test_what_workers_read_ahead_is_handed_out_and_not_trained() -> None:
    """Negative control: the position of what was read would leave rows out."""
    sampler = new_sampler()
    loader = DataLoader(Rows(), batch_sampler=sampler, num_workers=2)
    batches = iter(loader)
    trained = [next(batches)[0].tolist() for _ in range(3)]
    read, by_step = sampler.state_dict(), sampler.state_at(3)
    assert by_step["consumed_rows"] == 3 * GLOBAL_BATCH
    assert read["consumed_rows"] > 3 * GLOBAL_BATCH
    right, wrong = new_sampler(), new_sampler()
    right.load_state_dict(by_step)
    wrong.load_state_dict(read)
    whole = list(new_sampler())
    assert trained + list(right) == whole
    assert len(trained) + len(list(wrong)) < len(whole)


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_steps_that_were_never_handed_out_cannot_be_saved(
    accumulation_steps: int,
) -> None:
    """A loop that counts micro-batches as steps would skip rows after a resume."""
    sampler = new_sampler(accumulation_steps=accumulation_steps)
    for micro_batches, _ in enumerate(itertools.islice(sampler, 8), start=1):
        sampler.state_at(micro_batches // accumulation_steps)
    if accumulation_steps > 1:
        with pytest.raises(SettingsError, match="handed out the rows of only 4 steps"):
            sampler.state_at(8)


def test_after_a_forgotten_set_epoch_a_whole_epoch_follows_and_may_be_saved(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sampler = new_sampler()
    sampler.start_at_step(STEPS_PER_EPOCH + 10)  # as after a resume
    counts = [len(list(sampler)) for _ in range(3)]
    assert counts == [STEPS_PER_EPOCH - 10, STEPS_PER_EPOCH, STEPS_PER_EPOCH]
    assert caplog.text.count("epoch 1 is read again, in the same order") == 2
    sampler.state_at(4 * STEPS_PER_EPOCH)


# torchdata 0.11 calls what torch 2.13 has deprecated.
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("accumulation_steps", [1, 2])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_torchdatas_stateful_loader_goes_on_after_what_was_trained(
    tmp_path: Path, accumulation_steps: int, num_workers: int
) -> None:
    stateful = pytest.importorskip(
        "torchdata.stateful_dataloader", reason="torchdata is not installed"
    )

    def new_loader(rank: int) -> Any:
        sampler = new_sampler(rank, accumulation_steps=accumulation_steps)
        return stateful.StatefulDataLoader(
            Rows(), batch_sampler=sampler, num_workers=num_workers
        )

    def own_state(loader: Any) -> checkpoint.TrainingState:
        net = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        return checkpoint.TrainingState(net, optimizer, extra={"loader": loader})

    def rows_of(batches: Iterator[Any]) -> list[list[int]]:
        return [numbers.tolist() for numbers, _ in batches]

    for rank, done in ((0, 1), (1, 7)):
        whole = rows_of(new_loader(rank))
        first = new_loader(rank)
        begun = iter(first)
        trained = rows_of(itertools.islice(begun, done))
        second = new_loader(rank)
        checkpoint.save(tmp_path / str(rank), own_state(first), step=done)
        checkpoint.restore(tmp_path / str(rank), own_state(second))
        assert trained + rows_of(second) == whole
        assert len(whole) == STEPS_PER_EPOCH * accumulation_steps


# --- Streams ----------------------------------------------------------------------


class Stream(IterableDataset[int]):
    """Rows without numbers of their own."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.num_rows))


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("num_workers", [0, 1, 2])
@pytest.mark.parametrize("num_rows", [0, 1, 24, 29])
def test_each_row_of_a_stream_goes_to_one_worker_of_one_rank(
    num_rows: int, num_workers: int, drop_last: bool
) -> None:
    read, num_batches = [], set()
    for rank in range(3):
        shard = sharding.shard_iterable(
            Stream(num_rows), rank_of(rank, 3), drop_last=drop_last
        )
        batches = list(DataLoader(shard, batch_size=4, num_workers=num_workers))
        num_batches.add(len(batches))
        read += [row for batch in batches for row in batch.tolist()]
    whole = num_rows // 3 * 3 if drop_last else num_rows
    assert sorted(read) == list(range(whole))
    if drop_last:
        assert len(num_batches) == 1, "a rank would wait for the others for ever"


def test_an_unsplit_stream_is_read_by_everyone() -> None:
    """Negative control."""
    loader = DataLoader(Stream(24), batch_size=4, num_workers=2)
    read = [row for batch in loader for row in batch.tolist()]
    assert sorted(read) == sorted([*range(24), *range(24)])
