"""Dividing by device_count() to get the accumulation steps: right on one machine only.

Symptom   "rows per step over all ranks: 64 ... right is 32", reported by the detector.
Cause     device_count() counts this machine's GPUs: none without a GPU, and on two
          machines only half of the ranks.
Fix       get_world_size() (`ranks.world_size`).
Detector  Rows per step, counted over all ranks.
Look at   The number that the batch is divided by: GPUs of this machine, or ranks?
Question  On two machines with four GPUs each, how many rows does a step have?
Source    https://github.com/karpathy/nanoGPT/issues/283
Concept   understand/processes-and-ranks
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import torch

from distrinews import dist
from distrinews.course import labs

GLOBAL_BATCH_SIZE, MICRO_BATCH_SIZE = 32, 4


def broken(ranks: dist.Ranks) -> int:
    num_devices = max(1, torch.cuda.device_count())  # this machine's GPUs
    num_micro_batches = GLOBAL_BATCH_SIZE // (MICRO_BATCH_SIZE * num_devices)
    return dist.sum_over_ranks(num_micro_batches * MICRO_BATCH_SIZE)


def fixed(ranks: dist.Ranks) -> int:
    num_micro_batches = GLOBAL_BATCH_SIZE // (MICRO_BATCH_SIZE * ranks.world_size)
    return dist.sum_over_ranks(num_micro_batches * MICRO_BATCH_SIZE)


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("rows per step over all ranks", got, want=GLOBAL_BATCH_SIZE)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"rows per step over all ranks: 64 on rank 0, 64 on rank 1; right is 32",
)

if __name__ == "__main__":
    LAB.main()
