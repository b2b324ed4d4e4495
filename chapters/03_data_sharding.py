"""Chapter 03 - Data sharding: which rank reads which row.

Question  DDP averages gradients. Who makes sure that the ranks read different rows,
          and that an evaluation counts each row once?
Predict   Seven rows, two ranks, torch's DistributedSampler: how many rows are read,
first     and what does that do to an accuracy?
Builds on Chapter 02: what a rank is.
New here  Dealing rows, set_epoch, padding, exact evaluation, batches of like length.
Left out  What the ranks do with the rows (chapter 04).

Run       python chapters/03_data_sharding.py
          python chapters/03_data_sharding.py --preset tiny --num-ranks 4
Expect    Tables of who reads what, an accuracy that padding fakes, rows per second.
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

NUM_ROWS = 13  # divides by no number of ranks
ROWS_TO_TIME = 480  # with each kind of batches; 15 steps of two ranks


def learn(ranks: dist.Ranks, settings: lessons.DataSettings) -> None:
    """What one rank does. Every rank runs exactly these lines."""

    def draw(title: str, local_rows: list[int] | list[list[int]]) -> None:
        by_rank = dist.gather_objects(local_rows)
        if ranks.is_main:
            print(f"{title}\n{sharding.assignment_table(by_rank)}\n")

    # --8<-- [start:deal]
    # 1. Rows are dealt like cards ------------------------------------------------
    plain = sharding.ShardSampler(NUM_ROWS, ranks, seed=0, shuffle=False)
    draw("in order: who reads what, step by step from left to right", list(plain))
    # WHY repeated rows at the end: every step is a meeting, so all ranks need equally
    # many. In training a row too many does no harm.
    sampler = sharding.ShardSampler(NUM_ROWS, ranks, seed=0)
    orders = {}
    for epoch in range(2):
        sampler.set_epoch(epoch)  # forgotten, every epoch has the order of the first
        orders[epoch] = list(sampler)
        draw(f"shuffled, epoch {epoch}", orders[epoch])
    # --8<-- [end:deal]

    numbers = torch.arange(NUM_ROWS)
    torch_sampler: DistributedSampler[int] = DistributedSampler(
        TensorDataset(numbers), num_replicas=ranks.world_size, rank=ranks.rank, seed=0
    )
    torch_sampler.set_epoch(1)
    equal = list(torch_sampler) == orders[1] != orders[0]  # torch's own: the very same

    # --8<-- [start:evaluate]
    # 2. Evaluation: every row once ------------------------------------------------
    correct = (numbers != 0).double()  # a classifier that errs on row 0 only

    def accuracy(rows: list[int]) -> float:
        num_correct = dist.sum_over_ranks(float(correct[rows].sum()))
        return num_correct / dist.sum_over_ranks(len(rows))

    padded = accuracy(list(plain))
    lengths = [1 + row % 5 for row in range(NUM_ROWS)]
    batches = sharding.evaluation_batches(lengths, ranks, batch_size=4)
    exact = accuracy([row for batch in batches for row in batch])
    draw("evaluation: whole batches, no padding, ranks may get fewer", batches)
    # --8<-- [end:evaluate]
    if ranks.is_main:
        print(
            f"accuracy with {plain.num_padding} padding row(s) {padded:.4f}, "
            f"exact {exact:.4f} = {NUM_ROWS - 1} of {NUM_ROWS}\n"
        )

    # --8<-- [start:balance]
    # 3. Batches of like length ------------------------------------------------------
    # WHY: a batch is padded to its longest row, and a step lasts as long as its slowest
    # rank. So rows of like length go together, and neighbours in length to each step.
    rows = {"train_rows": ROWS_TO_TIME + 20, "validation_rows": 20}
    batch_size = {"global_batch_size": 16 * ranks.world_size}
    chosen = settings.model_dump(include={"preset", "data"}) | rows | batch_size
    train_settings = DistributedSettings.model_validate(chosen)
    splits = corpus.load(train_settings)
    measured = length_balance.measure(splits, ranks, settings=train_settings)
    # --8<-- [end:balance]

    # 4. Compare the two kinds of batches ------------------------------------------
    length, shuffled = measured["length"], measured["shuffled"]
    speedup = length["samples_per_s"] / shuffled["samples_per_s"]
    if ranks.is_main:
        for kind, row in measured.items():
            speed = f"{kind:9} {row['samples_per_s']:7.1f} samples/s"
            print(f"{speed}, {row['padding_share']:.0%} of the work is padding")
        print(f"balanced by length: {speedup:.2f}x")
        padding_fakes = padded != exact or plain.num_padding == 0
        promise = equal and padding_fakes and exact == 12 / 13
        print("verdict:", "as promised" if promise else "BROKEN")
        figures = {"batches": measured, "ratio": speedup}
        results.save(settings, "data_sharding", figures=figures, ranks=ranks)


def main() -> None:
    settings = parse(lessons.DataSettings, about=__doc__)
    num_ranks = dist.launched_world_size() or settings.num_ranks
    dist.launch(learn, settings, num_ranks=num_ranks)


if __name__ == "__main__":
    console.run(main)
