"""Training through replica.module: N models that are never averaged.

Symptom   "the replicas differ in 'module...' first", reported by the detector. The
          losses fall, nothing raises.
Cause     DDP's forward prepares the reducer for the backward that follows. If you call
          the inner module, nothing prepares it, and the hooks do nothing.
Fix       Call the wrapper in training; `replica.module` is for evaluation and saving.
Detector  `sync.assert_replicas_equal`: a checksum of every tensor, compared over
          the ranks.
Look at   The object that the loop calls.
Question  Each rank trains on half of the rows. Which rank's model would be saved?
Source    https://github.com/k2-fsa/icefall/issues/226
Concept   understand/ddp-inside
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist, sync
from distrinews.course import labs


def train(model: nn.Module, replica: nn.Module, ranks: dist.Ranks) -> nn.Module:
    optimizer = torch.optim.SGD(replica.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        labs.loss_on(model, labs.own_rows(ranks)).backward()
        optimizer.step()
    print(f"rank {ranks.rank} trained its {type(model).__name__} for 3 steps")
    return replica


def broken(ranks: dist.Ranks) -> nn.Module:
    replica = DistributedDataParallel(labs.small_model())
    return train(replica.module, replica, ranks)


def fixed(ranks: dist.Ranks) -> nn.Module:
    replica = DistributedDataParallel(labs.small_model())
    return train(replica, replica, ranks)


def detect(ranks: dist.Ranks, got: nn.Module) -> None:
    sync.assert_replicas_equal(got)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"the replicas differ in 'module",
)

if __name__ == "__main__":
    LAB.main()
