"""Chapter 03 - Data sharding: which rank reads which row.

Question  DDP averages gradients. What makes the ranks read different rows, and makes
          an evaluation count each row once?
Predict   Seven rows, two ranks, torch's DistributedSampler: how many rows are read,
first     and what does that do to an accuracy?
Builds on Chapter 02: what a rank is.
New here  Splitting rows, set_epoch, padding, exact evaluation, batches by length.
Left out  What the ranks do with the rows (chapter 04).

Run       python chapters/03_data_sharding.py
          python chapters/03_data_sharding.py --preset tiny --num-ranks 4
Expect    Tables of each rank's rows, an accuracy falsified by padding, rows per second.
Takes     About half a minute on two CPU cores; --preset tiny: fifteen seconds.
"""

from __future__ import annotations

from distrinews.system import console

console.quiet_interrupts()  # before the slow imports: Ctrl-C ends them quietly

import torch
from torch.utils.data import DistributedSampler, TensorDataset

from distrinews import dist, sharding
from distrinews.bench import length_balance, results
from distrinews.config.flags import parse
from distrinews.config.settings import DistributedSettings
from distrinews.course import lessons
from distrinews.training import corpus

NUM_ROWS = 13  # a prime: not a multiple of any number of ranks
ROWS_TO_TIME = 480  # with each kind of batches: 15 steps of two ranks


def learn(ranks: dist.Ranks, settings: lessons.DataSettings) -> None:
    """What one rank does. Every rank runs exactly these lines."""

    def draw(title: str, local_rows: list[int] | list[list[int]]) -> None:
        by_rank = dist.gather_objects(local_rows)
        if ranks.is_main:
            print(f"{title}\n{sharding.assignment_table(by_rank)}\n")

    # --8<-- [start:deal]
    # 1. Rows are dealt like cards ------------------------------------------------
    def deal(epoch: int) -> list[int]:
        # The same seed on every rank, so that all split the same order; and a new seed
        # in each epoch: without set_epoch every epoch has the order of the first.
        generator = torch.Generator().manual_seed(epoch)
        order = torch.randperm(NUM_ROWS, generator=generator).tolist()
        # Repeat rows: every step synchronises, so all ranks need the same number.
        order += order[: -NUM_ROWS % ranks.world_size]
        return order[ranks.rank :: ranks.world_size]

    numbers = torch.arange(NUM_ROWS)
    data = TensorDataset(numbers)
    torch_sampler: DistributedSampler[int] = DistributedSampler(
        data, num_replicas=ranks.world_size, rank=ranks.rank, seed=0
    )
    our_sampler = sharding.ShardSampler(NUM_ROWS, ranks, seed=0)
    equal = deal(0) != deal(1)
    for epoch in range(2):
        torch_sampler.set_epoch(epoch)
        our_sampler.set_epoch(epoch)
        equal = equal and deal(epoch) == list(torch_sampler) == list(our_sampler)
        draw(f"shuffled, epoch {epoch}: who reads what, step by step", deal(epoch))
    # --8<-- [end:deal]

    # --8<-- [start:evaluate]
    # 2. Evaluation: every row once ------------------------------------------------
    correct = (numbers != 0).double()  # a classifier that errs on row 0 only

    def accuracy(rows: list[int]) -> float:
        num_correct = dist.sum_over_ranks(float(correct[rows].sum()))
        return num_correct / dist.sum_over_ranks(len(rows))

    in_order = sharding.ShardSampler(NUM_ROWS, ranks, seed=0, shuffle=False)
    padded = accuracy(list(in_order))
    lengths = [1 + row % 5 for row in range(NUM_ROWS)]
    batches = sharding.evaluation_batches(lengths, ranks, batch_size=4)
    exact = accuracy([row for batch in batches for row in batch])
    draw("evaluation: whole batches, no padding, ranks may get fewer", batches)
    # --8<-- [end:evaluate]
    if ranks.is_main:
        print(
            f"padding rows: {in_order.num_padding}, accuracy with them {padded:.4f}, "
            f"exact {exact:.4f} = {NUM_ROWS - 1} of {NUM_ROWS}\n"
        )

    # --8<-- [start:balance]
    # 3. Batches of similar length ---------------------------------------------------
    # A batch is padded to its longest row; a step lasts as long as its slowest rank. So
    # put rows of similar length into a batch, and similar batches into a step.
    size = 16 * ranks.world_size
    rows = {"train_rows": ROWS_TO_TIME + 20, "validation_rows": 20}
    chosen = settings.model_dump(include={"preset", "data"}) | rows
    recipe = DistributedSettings.model_validate(chosen | {"global_batch_size": size})
    splits = corpus.load(recipe)
    shuffled = sharding.ShuffledBatchSampler(
        ROWS_TO_TIME, ranks, global_batch_size=size, seed=0
    )
    balanced = sharding.LengthBalancedBatchSampler(
        splits.train_lengths, ranks, global_batch_size=size, seed=0
    )
    samplers = {"shuffled": shuffled, "length": balanced}
    measured = length_balance.measure(samplers, splits, ranks, settings=recipe)
    # --8<-- [end:balance]

    # 4. Compare ---------------------------------------------------------------------
    ratio = measured["length"]["samples_per_s"] / measured["shuffled"]["samples_per_s"]
    if ranks.is_main:
        print(length_balance.lines(measured))
        figures = {"batches": measured, "ratio": ratio}
        results.save(settings, "data_sharding", figures=figures, ranks=ranks)
    promise = "torch's sampler and ours deal as our own lines do"
    lessons.verdict(promise, held=equal, ranks=ranks)
    held = exact == 12 / 13 and (padded != exact or in_order.num_padding == 0)
    promise = "evaluation counts each row once; with padding it would not"
    lessons.verdict(promise, held=held, ranks=ranks)


def main() -> None:
    settings = parse(lessons.DataSettings, about=__doc__)
    num_ranks = dist.launched_world_size() or settings.num_ranks
    dist.launch(learn, settings, num_ranks=num_ranks)


if __name__ == "__main__":
    console.run(main)
