"""The sync flag is set after the forward: accumulated gradients are never averaged.

Symptom   "the replicas differ in 'module...' first", reported by the detector. The
          losses fall, nothing raises.
Cause     DDP decides in its forward whether the backward that follows will communicate.
          The flag is set after the last forward, so it takes effect one micro-batch too
          late.
Fix       Put the flag or no_sync() around forward and backward.
Detector  `sync.assert_replicas_equal`: a checksum of every tensor, compared over
          the ranks.
Look at   The name of the first tensor that differs.
Question  Which of the two backwards communicated here? What happens in the next step?
Source    https://github.com/karpathy/build-nanogpt/pull/30
Concept   understand/accumulation
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist, sync
from distrinews.course import labs


def broken(ranks: dist.Ranks) -> nn.Module:
    replica = DistributedDataParallel(labs.small_model())
    optimizer = torch.optim.SGD(replica.parameters(), lr=0.1)
    rows = labs.own_rows(ranks)
    for number, micro_batch in enumerate((rows[:4], rows[4:])):
        loss = labs.loss_on(replica, micro_batch) / 2
        replica.require_backward_grad_sync = number == 1
        loss.backward()
    optimizer.step()
    print(f"rank {ranks.rank}: one step of 2 accumulated micro-batches")
    return replica


def fixed(ranks: dist.Ranks) -> nn.Module:
    replica = DistributedDataParallel(labs.small_model())
    optimizer = torch.optim.SGD(replica.parameters(), lr=0.1)
    rows = labs.own_rows(ranks)
    for number, micro_batch in enumerate((rows[:4], rows[4:])):
        with sync.no_sync_unless(number == 1, replica=replica):
            loss = labs.loss_on(replica, micro_batch) / 2
            loss.backward()
    optimizer.step()
    print(f"rank {ranks.rank}: one step of 2 accumulated micro-batches")
    return replica


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
