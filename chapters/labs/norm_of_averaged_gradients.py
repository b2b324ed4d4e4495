"""The squared gradient norm is summed over ranks that all hold the same gradient.

Symptom   "length of the gradient: ... right is ...": too long by sqrt(2), reported by
          the detector. Clipping shortens the gradient too much.
Cause     After backward every rank holds the same, averaged gradient. Adding up its
          square W times gives sqrt(W) times the norm. (The sum is right if each rank
          holds a different part of the weights.)
Fix       Call clip_grad_norm_ on each rank, without communication.
Detector  The gradient norm of one process on all rows.
Look at   The ratio of the two numbers, squared.
Question  Why do all ranks clip by the same factor without communicating?
Source    https://github.com/modelscope/twinkle/pull/290
Concept   understand/gradient-sync
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs


def broken(ranks: dist.Ranks) -> float:
    replica = DistributedDataParallel(labs.small_model())
    labs.loss_on(replica, labs.own_rows(ranks)).backward()
    squared = torch.tensor(labs.gradient_norm(replica) ** 2)
    torch_dist.all_reduce(squared)
    return squared.sqrt().item()  # what clipping divides by


def fixed(ranks: dist.Ranks) -> float:
    replica = DistributedDataParallel(labs.small_model())
    labs.loss_on(replica, labs.own_rows(ranks)).backward()
    return labs.gradient_norm(replica)


def detect(ranks: dist.Ranks, got: float) -> None:
    alone = labs.small_model()  # one process, all 16 rows
    labs.loss_on(alone, range(16)).backward()
    labs.expect("length of the gradient", got, want=labs.gradient_norm(alone))


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"length of the gradient: 0\.\d+ on rank 0.*; right is 0\.\d+",
)

if __name__ == "__main__":
    LAB.main()
