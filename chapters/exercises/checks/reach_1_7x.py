"""The check of reach_1_7x."""

from __future__ import annotations

import torch

from distrinews.course import exercises

NUM_ROWS, BATCH = 512, 8


def check(harness: exercises.Harness) -> None:
    generator = torch.Generator().manual_seed(1)
    drawn = torch.randn(NUM_ROWS, generator=generator)
    lengths: list[int] = (40 * torch.exp(0.4 * drawn)).int().clamp(8, 200).tolist()
    local_batches, trace = harness.run(list(lengths), BATCH)
    harness.at_most(
        "collectives", trace.calls(), limit=0, why="Every rank knows the lengths."
    )
    batches_by_rank = harness.gather_objects([list(batch) for batch in local_batches])
    read = sorted(row for rank in batches_by_rank for batch in rank for row in batch)
    harness.reject_if(
        read != list(range(NUM_ROWS)),
        f"{len(set(read))} of {NUM_ROWS} rows are read, {len(read) - len(set(read))} "
        "of them twice.",
    )
    harness.reject_if(
        any(len(batch) != BATCH for batch in local_batches)
        or len({len(rank) for rank in batches_by_rank}) > 1,
        "a batch or a rank has too many or too few: DDP averages with equal weights.",
    )

    def cost(batch: list[int]) -> int:
        return len(batch) * max(lengths[row] for row in batch)

    by_length = sorted(range(NUM_ROWS), key=lambda row: lengths[row])
    batches = [by_length[i : i + BATCH] for i in range(0, NUM_ROWS, BATCH)]
    alone = sum(map(cost, batches))
    computed = sum(cost(batch) for rank in batches_by_rank for batch in rank)
    steps = zip(*batches_by_rank, strict=True)
    speed_up = alone / sum(max(cost(batch) for batch in step) for step in steps)
    if harness.ranks.is_main:
        print(f"{speed_up:.2f} times as fast as one process; target: 1.7", flush=True)
    harness.reject_if(
        speed_up < 1.7 and computed > 1.1 * alone,
        f"only {speed_up:.2f} times as fast: both ranks together compute "
        f"{computed / alone:.2f} times as many tokens, most of them padding.",
    )
    harness.reject_if(
        speed_up < 1.7,
        f"only {speed_up:.2f} times as fast: in a step one rank waits for the other's "
        "longer rows.",
    )


EXERCISE = exercises.Exercise(check=check)
