"""The ranks build different models: DDP refuses to wrap them.

Symptom   "RuntimeError: DDP expects same model across all ranks, but Rank 0 has 6
          params, while rank 1 has inconsistent 4 params."
Cause     The ranks read different settings, so their models have different shapes.
Fix       Rank 0 reads the settings and broadcasts them; every rank builds the same
          model.
Detector  DDP's constructor: it compares number and shapes of the trainable parameters.
Look at   The two numbers in the message, and the rank that each belongs to.
Question  Would DDP also notice two models with equal shapes and different dropout?
Source    https://github.com/pytorch/pytorch/issues/73547
Concept   understand/ddp-inside
Silent    no
Takes     4 s
"""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs


def build(num_layers: int) -> nn.Sequential:
    return nn.Sequential(*[nn.Linear(4, 4) for _ in range(num_layers)])


def broken(ranks: dist.Ranks) -> int:
    # Each rank reads its own settings; on rank 1's machine the file is an older one.
    num_layers = 3 if ranks.is_main else 2
    replica = DistributedDataParallel(build(num_layers))
    return len(list(replica.parameters()))


def fixed(ranks: dist.Ranks) -> int:
    num_layers = dist.broadcast_object(3 if ranks.is_main else 2)
    replica = DistributedDataParallel(build(num_layers))
    return len(list(replica.parameters()))


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("parameter tensors", got, want=6)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"DDP expects same model across all ranks, but Rank \d has \d params",
)

if __name__ == "__main__":
    LAB.main()
