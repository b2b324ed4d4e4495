"""One seed for everything: all ranks drop the same neurons.

Symptom   "different dropout masks: 1 ... right is 2", reported by the detector.
Cause     The seed that makes the weights equal also makes dropout and augmentation
          equal: W ranks use the same noise, while one process would draw new noise for
              every row of the whole batch.
Fix       After building the weights, seed each rank's noise by its rank. Keep the
          sampler's seed equal.
Detector  The masks of all ranks, compared.
Look at   Where the seed is set, and what is drawn after it.
Question  Why must the sampler's seed stay the same on all ranks?
Source    https://github.com/huggingface/transformers/issues/37932
Concept   understand/randomness
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs


def mask() -> tuple[float, ...]:
    return tuple(F.dropout(torch.ones(24), p=0.5).tolist())


def broken(ranks: dist.Ranks) -> int:
    torch.manual_seed(0)  # the weights must be equal on all ranks
    DistributedDataParallel(nn.Linear(4, 2))
    return len(set(dist.gather_objects(mask())))


def fixed(ranks: dist.Ranks) -> int:
    torch.manual_seed(0)
    DistributedDataParallel(nn.Linear(4, 2))
    torch.manual_seed(1 + ranks.rank)  # from here on noise, of each rank's own
    return len(set(dist.gather_objects(mask())))


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("different dropout masks", got, want=ranks.world_size)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"different dropout masks: 1 on rank 0, 1 on rank 1; right is 2",
)

if __name__ == "__main__":
    LAB.main()
