"""Two ranks, each with the old batch size: a different experiment.

Symptom   "rows per step, steps per epoch: [64, 10] ... right is [32, 20]", reported by
          the detector. Later: a lower accuracy.
Cause     The batch size per rank stays the same, so the batch of a step grows with the
          number of ranks: half as many steps at the old learning rate.
Fix       Fix the global batch and divide it by the ranks. Change batch size and
          learning rate later, on purpose, and measure.
Detector  Rows per step over all ranks, compared with those of the other run.
Look at   The steps per epoch.
Question  Linear scaling of the learning rate is one answer. What does it assume?
Source    https://github.com/Lightning-AI/pytorch-lightning/issues/3706
Concept   understand/global-batch
Silent    yes
Takes     4 s
"""

from __future__ import annotations

from distrinews import dist, sharding
from distrinews.course import labs

GLOBAL_BATCH_SIZE = 32  # what one process trained well with
NUM_ROWS = 640


def rows_and_steps(per_rank: int, ranks: dist.Ranks) -> list[int]:
    rows_per_step = dist.sum_over_ranks(per_rank)
    if ranks.is_main:
        print(f"{per_rank} rows per rank, {NUM_ROWS // rows_per_step} steps per epoch")
    return [rows_per_step, NUM_ROWS // rows_per_step]


def broken(ranks: dist.Ranks) -> list[int]:
    return rows_and_steps(GLOBAL_BATCH_SIZE, ranks)


def fixed(ranks: dist.Ranks) -> list[int]:
    per_rank = sharding.per_rank_batch_size(
        GLOBAL_BATCH_SIZE, world_size=ranks.world_size
    )
    return rows_and_steps(per_rank, ranks)


def detect(ranks: dist.Ranks, got: list[int]) -> None:
    labs.expect("rows per step, steps per epoch", got, want=[32, 20])


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"rows per step, steps per epoch: \[64, 10\] on rank 0.*; right is",
)

if __name__ == "__main__":
    LAB.main()
