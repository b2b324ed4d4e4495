"""Accuracy over padded shards: it depends on the number of ranks.

Symptom   Ten rows were counted, but only nine exist; the accuracy is not 8/9.
Cause     DistributedSampler repeats rows until every rank has the same number. That is
          harmless in training; in evaluation a row counts twice.
Fix       Give each row to one rank (`sharding.evaluation_batches`). Ranks may get
          different numbers of rows, so call no collective in the loop; add up counts at
          the end.
Detector  The number of rows that were counted, compared with the number that exist.
Look at   "rows counted". Check it in every evaluation that you run on several ranks.
Question  Which row was counted twice, and what accuracy would three ranks report?
Source    https://github.com/pytorch/pytorch/issues/25162
Concept   understand/exact-evaluation
Silent    yes
Takes     4 s
"""

from __future__ import annotations

from torch.utils.data import DistributedSampler

from distrinews import dist, sharding
from distrinews.course import labs

RIGHT = [True] * 8 + [False]  # what a model answered, for each of nine rows


def count(rows: list[int], ranks: dist.Ranks) -> list[float]:
    num_right = dist.sum_over_ranks(sum(RIGHT[row] for row in rows))
    num_rows = dist.sum_over_ranks(len(rows))
    if ranks.is_main:
        print(f"accuracy over all ranks {num_right / num_rows:.4f}")
    return [num_rows, num_right / num_rows]


def broken(ranks: dist.Ranks) -> list[float]:
    sampler: DistributedSampler[bool] = DistributedSampler(RIGHT, shuffle=False)  # type: ignore[arg-type]
    return count(list(sampler), ranks)


def fixed(ranks: dist.Ranks) -> list[float]:
    batches = sharding.evaluation_batches([1] * len(RIGHT), ranks, batch_size=2)
    return count([row for batch in batches for row in batch], ranks)


def detect(ranks: dist.Ranks, got: list[float]) -> None:
    labs.expect("rows counted, accuracy", got, want=[9, 8 / 9])


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"rows counted, accuracy: \[10, 0\.9\] on rank 0.*right is \[9, 0\.8889\]",
)

if __name__ == "__main__":
    LAB.main()
