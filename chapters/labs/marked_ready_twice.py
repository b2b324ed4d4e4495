"""Reentrant checkpointing finishes a shared layer's gradient twice.

Symptom   "RuntimeError: Expected to mark a variable ready only once."
Cause     Reentrant checkpointing runs a separate backward for each recomputed part, so
          a shared layer's gradient is finished twice. DDP sends each gradient once.
Fix       Set use_reentrant=False, or build DDP with static_graph=True.
Detector  DDP's reducer, inside backward.
Look at   The reasons 1) and 2) that the message gives. Which one applies here?
Question  What would the replicas hold if DDP sent the gradient after the first part?
Source    https://github.com/huggingface/accelerate/issues/3536
Concept   understand/ddp-inside
Silent    no
Takes     4 s
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from distrinews import dist, sync
from distrinews.course import labs


class Twice(nn.Module):
    """One layer, used two times, recomputed in backward to save memory."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(4, 4), nn.Linear(4, 4)
        self.reentrant = reentrant

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Called by the model's caller."""
        inputs = self.first(inputs)
        for _ in range(2):
            inputs = checkpoint(self.layer, inputs, use_reentrant=self.reentrant)
        return inputs


def train(net: nn.Module, ranks: dist.Ranks) -> nn.Module:
    replica = DistributedDataParallel(net)
    labs.loss_on(replica, labs.own_rows(ranks)).backward()
    torch.optim.SGD(replica.parameters(), lr=0.1).step()
    return replica


def broken(ranks: dist.Ranks) -> nn.Module:
    return train(Twice(reentrant=True), ranks)


def fixed(ranks: dist.Ranks) -> nn.Module:
    return train(Twice(reentrant=False), ranks)


def detect(ranks: dist.Ranks, got: nn.Module) -> None:
    sync.assert_replicas_equal(got)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"Expected to mark a variable ready only once",
)

if __name__ == "__main__":
    LAB.main()
