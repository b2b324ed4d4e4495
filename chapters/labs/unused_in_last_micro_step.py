"""A branch that the last micro-batch does not use is never averaged.

Symptom   "the replicas differ in 'module.branches.0...' first", said by the detector.
Cause     With find_unused_parameters DDP sends what the last forward used. Branch 0 got
          its gradient in the first, silent micro-batch.
Fix       Let every micro-batch meet, or let the last one touch every parameter.
Detector  `replicas.assert_replicas_equal`: a checksum of every tensor, compared over
          the ranks.
Look at   The name of the tensor: which branch is it, and when was it used?
Question  Would the same happen if both branches were used in both micro-batches?
Source    https://github.com/pytorch/pytorch/issues/69031
Concept   understand/gradient-sync
Silent    yes
Takes     6 s
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist, labs, replicas, sync


class TwoBranches(nn.Module):
    """The branch depends on the batch, as with several tasks in one model."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList([labs.small_model(), labs.small_model()])
        self.chosen = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Called by the model's caller."""
        answer: torch.Tensor = self.branches[self.chosen](inputs)
        return answer


def train(ranks: dist.Ranks, meets: tuple[bool, bool]) -> nn.Module:
    net = TwoBranches()
    replica = DistributedDataParallel(net, find_unused_parameters=True)
    optimizer = torch.optim.SGD(replica.parameters(), lr=0.1)
    for number, is_meeting in enumerate(meets):
        net.chosen = number
        with sync.sync_if(is_meeting, replica=replica):
            labs.loss_on(replica, labs.own_rows(ranks)).backward()
        print(f"rank {ranks.rank}: micro-batch {number} used branch {number}")
    optimizer.step()
    return replica


def broken(ranks: dist.Ranks) -> nn.Module:
    return train(ranks, meets=(False, True))


def fixed(ranks: dist.Ranks) -> nn.Module:
    return train(ranks, meets=(True, True))


def detect(ranks: dist.Ranks, got: nn.Module) -> None:
    replicas.assert_replicas_equal(got)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"the replicas differ in 'module\.branches\.0",
)

if __name__ == "__main__":
    LAB.main()
