"""find_unused_parameters=True, just to be safe: a graph walk in every step.

Symptom   A warning, once per rank: "find_unused_parameters=True was specified in DDP
          constructor,  unused parameters in the forward pass."
Cause     With the flag DDP walks the whole autograd graph after each forward, to find
          parameters that will get no gradient. This model has none.
Fix       Omit the flag; if a layer is unused, freeze or remove it.
Detector  DDP's warning.
Look at   The warning appears in the first step only; the walk happens in every step.
Question  What does the flag cost, and what does it hide when a layer is unused by
          mistake?
Source    https://github.com/pytorch/pytorch/pull/50133
Concept   understand/ddp-inside
Silent    no
Takes     4 s
"""

from __future__ import annotations

from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs


def broken(ranks: dist.Ranks) -> bool:
    replica = DistributedDataParallel(labs.small_model(), find_unused_parameters=True)
    labs.loss_on(replica, labs.own_rows(ranks)).backward()
    return bool(replica.find_unused_parameters)


def fixed(ranks: dist.Ranks) -> bool:
    replica = DistributedDataParallel(labs.small_model())
    labs.loss_on(replica, labs.own_rows(ranks)).backward()
    return bool(replica.find_unused_parameters)


def detect(ranks: dist.Ranks, got: bool) -> None:
    labs.expect("searches for unused parameters in each step", got, want=False)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"find_unused_parameters=True was specified in DDP constructor",
)

if __name__ == "__main__":
    LAB.main()
