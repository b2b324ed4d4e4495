"""all_reduce adds up, and the code forgets to divide.

Symptom   "mean of the losses 1 and 3: 4 ... right is 2", reported by the detector.
Cause     torch.distributed.all_reduce sums by default. The loss is W times too large.
Fix       Divide by the number of ranks, once.
Detector  The same number, computed in one process.
Look at   The ratio of the two numbers.
Question  gloo has no ReduceOp.AVG. What would you use with nccl?
Source    https://github.com/Liquid4All/liquid-finetune/pull/38
Concept   understand/metrics-over-ranks
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist
from distrinews.course import labs

LOSSES = (1.0, 3.0)  # each rank's mean, over the same number of rows


def broken(ranks: dist.Ranks) -> float:
    loss = torch.tensor(LOSSES[ranks.rank])
    torch_dist.all_reduce(loss)
    if ranks.is_main:
        print(f"validation loss over all ranks {loss.item():.4f}")
    return loss.item()


def fixed(ranks: dist.Ranks) -> float:
    loss = torch.tensor(LOSSES[ranks.rank])
    torch_dist.all_reduce(loss)
    loss /= ranks.world_size
    if ranks.is_main:
        print(f"validation loss over all ranks {loss.item():.4f}")
    return loss.item()


def detect(ranks: dist.Ranks, got: float) -> None:
    labs.expect("mean of the losses 1 and 3", got, want=2.0)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"mean of the losses 1 and 3: 4 on rank 0, 4 on rank 1; right is 2",
)

if __name__ == "__main__":
    LAB.main()
