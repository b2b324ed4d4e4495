"""The printed loss is rank 0's only.

Symptom   "printed loss: 1 ... right is 2", reported by the detector.
Cause     `if ranks.is_main: print(loss)` prints the loss of one rank's rows.
Fix       Reduce over all ranks first, outside the `if`; or print that it is rank 0's
          loss.
Detector  The mean over all ranks, computed separately.
Look at   The number, and the rows that it was computed on.
Question  With more ranks, does this curve become smoother or noisier?
Source    https://github.com/karpathy/llm.c/pull/551
Concept   understand/metrics-over-ranks
Silent    yes
Takes     4 s
"""

from __future__ import annotations

from distrinews import dist
from distrinews.course import labs

LOSSES = (1.0, 3.0)  # what each rank computed on its own rows


def broken(ranks: dist.Ranks) -> float:
    printed = LOSSES[ranks.rank]
    if ranks.is_main:
        print(f"loss {printed:.4f}")
    return dist.broadcast_object(printed)  # what the reader saw


def fixed(ranks: dist.Ranks) -> float:
    printed = dist.sum_over_ranks(LOSSES[ranks.rank]) / ranks.world_size
    if ranks.is_main:
        print(f"loss {printed:.4f}")
    return dist.broadcast_object(printed)


def detect(ranks: dist.Ranks, got: float) -> None:
    labs.expect("printed loss", got, want=2.0)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"printed loss: 1 on rank 0, 1 on rank 1; right is 2",
)

if __name__ == "__main__":
    LAB.main()
