"""Rank 0 alone evaluates through the DDP wrapper: a later step fails.

Symptom   gloo on Linux: "Received data size doesn't match expected size. Is there a
          distributed collective mismatch in your code?" in a later step. Elsewhere: a
          hang.
Cause     The model has a buffer, as BatchNorm does. After a training step the wrapper's
          next forward copies rank 0's buffers to all ranks. That is a collective, even
          without gradients, and rank 0 called it once more than the others.
Fix       Evaluate `replica.module`, or let every rank evaluate.
Detector  gloo aborts when it receives more bytes than it expects (Linux). Elsewhere the
          timeout.
Look at   Rank 0's evaluation worked. Another rank dies, later.
Question  Why does the same code work with a model that has no buffers?
Source    https://github.com/pytorch/pytorch/issues/54059
Concept   understand/buffers-and-batch-norm
Silent    no
Takes     4 s
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs


class Counting(nn.Module):
    """A model with a buffer, like BatchNorm's statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.net = labs.small_model()
        self.register_buffer("num_calls", torch.zeros(1))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Run the layers; the buffer is not used."""
        answer: torch.Tensor = self.net(inputs)
        return answer


def broken(ranks: dist.Ranks) -> float:
    replica = DistributedDataParallel(Counting())
    for _ in range(2):
        labs.loss_on(replica, labs.own_rows(ranks)).backward()
        if ranks.is_main:
            with torch.no_grad():
                print(f"rank 0 evaluates: {labs.loss_on(replica, range(16)):.4f}")
    return labs.gradient_norm(replica)


def fixed(ranks: dist.Ranks) -> float:
    replica = DistributedDataParallel(Counting())
    for _ in range(2):
        labs.loss_on(replica, labs.own_rows(ranks)).backward()
        if ranks.is_main:
            with torch.no_grad():
                loss = labs.loss_on(replica.module, range(16))
                print(f"rank 0 evaluates: {loss:.4f}")
    return labs.gradient_norm(replica)


def detect(ranks: dist.Ranks, got: float) -> None:
    norms = dist.gather_objects(got)
    labs.expect("length of the averaged gradient", got, want=norms[0])


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"Is there a distributed collective mismatch in your code",
)

if __name__ == "__main__":
    LAB.main()
