"""Every layer is frozen, so DDP has nothing to average.

Symptom   "RuntimeError: DistributedDataParallel is not needed when a module doesn't
          have any parameter that requires a gradient."
Cause     A frozen model (a teacher, a feature extractor) was wrapped. DDP averages
          gradients, and this model has none.
Fix       Do not wrap it. It only has to start with the same weights on every rank.
Detector  DDP's constructor.
Look at   Which of your models does an optimizer change?
Question  What keeps the frozen copies equal although nothing is averaged?
Source    https://github.com/yoshitomo-matsubara/torchdistill/pull/77
Concept   understand/ddp-inside
Silent    no
Takes     4 s
"""

from __future__ import annotations

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs


def frozen() -> nn.Module:
    net = labs.small_model()
    for param in net.parameters():
        param.requires_grad_(False)
    return net


def broken(ranks: dist.Ranks) -> int:
    teacher = DistributedDataParallel(frozen())
    return len(teacher(labs.small_data()[0][labs.own_rows(ranks)]))


def fixed(ranks: dist.Ranks) -> int:
    teacher = frozen()  # every rank has its own copy, and nothing will change it
    return len(teacher(labs.small_data()[0][labs.own_rows(ranks)]))


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("rows answered by this rank", got, want=8)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"DistributedDataParallel is not needed when a module doesn.t have any",
)

if __name__ == "__main__":
    LAB.main()
