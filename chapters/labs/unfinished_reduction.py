"""A layer that the loss does not use: the second step fails.

Symptom   "RuntimeError: Expected to have finished reduction in the prior iteration
          before starting a new one. This error indicates that your module has
          parameters that were not used in producing loss."
Cause     DDP waits for a gradient of every trainable parameter. The unused head never
          gets one, so the first step's averaging never ends, and the next forward
          raises.
Fix       Remove the layer or freeze it before wrapping. As a last resort,
          find_unused_parameters=True.
Detector  DDP's forward. TORCH_DISTRIBUTED_DEBUG=DETAIL makes it name the parameters.
Look at   The indices after "Parameter indices which did not receive grad".
Question  Why does the first step pass? What did its averaging leave undone?
Source    https://github.com/pytorch/pytorch/issues/43259
Concept   understand/ddp-inside
Silent    no
Takes     4 s
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.unused_head = labs.small_model(), nn.Linear(2, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Run the body only; nothing uses the head."""
        answer: torch.Tensor = self.body(inputs)
        return answer


def train(net: nn.Module, ranks: dist.Ranks) -> int:
    replica = DistributedDataParallel(net)
    for _ in range(2):
        labs.loss_on(replica, labs.own_rows(ranks)).backward()
    return 2


def broken(ranks: dist.Ranks) -> int:
    return train(TwoHeads(), ranks)


def fixed(ranks: dist.Ranks) -> int:
    net = TwoHeads()
    net.unused_head.requires_grad_(False)  # before wrapping: DDP does not wait for it
    return train(net, ranks)


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("steps", got, want=2)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"Expected to have finished reduction in the prior iteration",
)

if __name__ == "__main__":
    LAB.main()
