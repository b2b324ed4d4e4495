"""The checkpoint holds the model but not the optimizer: the resumed run differs.

Symptom   "the same weights as without the interruption: False ... right is True",
          reported by the detector.
Cause     The state of a run also includes the optimizer's momentum, the scheduler, the
          sampler's position and the random state.
Fix       Save and load all of it (`checkpoint`), and prove that resumed and
          uninterrupted runs end with the same bits.
Detector  The weights of a run that was never interrupted, bit for bit.
Look at   What SGD keeps besides the weights when momentum is not 0.
Question  What would Adam lose? Would you see it in the loss?
Source    https://github.com/huggingface/accelerate/issues/2016
Concept   understand/checkpoint
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs


def start() -> tuple[nn.Module, torch.optim.Optimizer]:
    replica = DistributedDataParallel(labs.small_model())
    return replica, torch.optim.SGD(replica.parameters(), lr=0.1, momentum=0.9)


def steps(replica: nn.Module, optimizer: torch.optim.Optimizer, num: int) -> None:
    ranks = dist.current()
    for _ in range(num):
        optimizer.zero_grad()
        labs.loss_on(replica, labs.own_rows(ranks)).backward()
        optimizer.step()


def broken(ranks: dist.Ranks) -> nn.Module:
    replica, optimizer = start()
    steps(replica, optimizer, 3)
    saved = copy.deepcopy(replica.state_dict())
    replica, optimizer = start()  # a new process, after an interruption
    replica.load_state_dict(saved)
    steps(replica, optimizer, 3)
    return replica


def fixed(ranks: dist.Ranks) -> nn.Module:
    replica, optimizer = start()
    steps(replica, optimizer, 3)
    saved = copy.deepcopy((replica.state_dict(), optimizer.state_dict()))
    replica, optimizer = start()
    replica.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    steps(replica, optimizer, 3)
    return replica


def detect(ranks: dist.Ranks, got: nn.Module) -> None:
    whole, optimizer = start()
    steps(whole, optimizer, 6)  # never interrupted
    pairs = zip(got.parameters(), whole.parameters(), strict=True)
    equal = all(torch.equal(resumed, undisturbed) for resumed, undisturbed in pairs)
    labs.expect("the same weights as without the interruption", equal, want=True)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"same weights as without the interruption: False on rank 0",
)

if __name__ == "__main__":
    LAB.main()
