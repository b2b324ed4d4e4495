"""A collective inside `if rank == 0`: the other ranks never call it.

Symptom   Hangs. After the timeout: "rank 1 is at ... never reached the call that the
          others were waiting in: rank 0".
Cause     Only rank 0 calls all_reduce. A collective ends only when every rank has
          called it.
Fix       Call it on every rank; put only the printing inside the `if`.
Detector  A short timeout, and `distrinews.dist.failures`, which names the ranks that
          waited, and where.
Look at   The two places in the last message: where rank 0 waits, where rank 1 is.
Question  Which of the two lines has to move, and which must stay inside the `if`?
Source    https://github.com/huggingface/transformers/pull/1081
Concept   understand/collectives
Silent    no
Takes     8 s
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist
from distrinews.course import labs


def broken(ranks: dist.Ranks) -> float:
    loss = torch.tensor(1.0 + ranks.rank)
    if ranks.is_main:
        print("rank 0 adds up the losses of all ranks, to print their mean")
        torch_dist.all_reduce(loss)
        print(f"mean loss over all ranks {loss.item() / ranks.world_size}")
    return loss.item() / ranks.world_size


def fixed(ranks: dist.Ranks) -> float:
    loss = torch.tensor(1.0 + ranks.rank)
    torch_dist.all_reduce(loss)
    if ranks.is_main:
        print(f"mean loss over all ranks {loss.item() / ranks.world_size}")
    return loss.item() / ranks.world_size


def detect(ranks: dist.Ranks, got: float) -> None:
    labs.expect("mean of the losses 1 and 2", got, want=1.5)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"rank 1 is at .*never reached .*others were waiting in: rank 0",
)

if __name__ == "__main__":
    LAB.main()
