"""Averaging the ranks' accuracies, although the ranks hold different numbers of rows.

Symptom   "3 of 4 rows right: 0.5 ... right is 0.75", reported by the detector.
Cause     Each rank's mean counts the same, although one rank has three rows and the
          other has one.
Fix       Add up sums and counts over all ranks, and divide once
          (`metrics.global_mean`).
Detector  The count over all rows, in one process.
Look at   The weight of rank 1's single row.
Question  When are both numbers equal? Which line of your code ensures that?
Source    https://github.com/huggingface/transformers/issues/34242
Concept   understand/metrics-over-ranks
Silent    yes
Takes     4 s
"""

from __future__ import annotations

from distrinews import dist
from distrinews.course import labs

RIGHT = ([True, True, True], [False])  # what the model answered, by rank


def broken(ranks: dist.Ranks) -> float:
    local_right = RIGHT[ranks.rank]
    accuracy = (
        dist.sum_over_ranks(sum(local_right) / len(local_right)) / ranks.world_size
    )
    if ranks.is_main:
        print(f"accuracy over all ranks {accuracy:.4f}")
    return accuracy


def fixed(ranks: dist.Ranks) -> float:
    local_right = RIGHT[ranks.rank]
    accuracy = dist.sum_over_ranks(sum(local_right)) / dist.sum_over_ranks(
        len(local_right)
    )
    if ranks.is_main:
        print(f"accuracy over all ranks {accuracy:.4f}")
    return accuracy


def detect(ranks: dist.Ranks, got: float) -> None:
    labs.expect("3 of 4 rows right", got, want=0.75)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"3 of 4 rows right: 0\.5 on rank 0, 0\.5 on rank 1; right is 0\.75",
)

if __name__ == "__main__":
    LAB.main()
