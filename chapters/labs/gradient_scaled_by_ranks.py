"""The loss is multiplied by the number of ranks, to undo DDP's division.

Symptom   "length of the gradient: ... right is ...": twice as long as it should be,
          reported by the detector.
Cause     DDP divides the sum of gradients by W. With a mean loss on the same number of
          rows per rank, that is already the gradient of the global batch.
Fix       Do not scale a mean loss. Only a loss that is a sum over rows needs a factor.
Detector  The gradient of one process on all rows.
Look at   The ratio of the two lengths.
Question  Adam would hide this for a while. Why, and what does it not hide?
Source    https://github.com/texttron/tevatron/issues/143
Concept   understand/gradient-sync
Silent    yes
Takes     4 s
"""

from __future__ import annotations

from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs


def broken(ranks: dist.Ranks) -> float:
    replica = DistributedDataParallel(labs.small_model())
    loss = labs.loss_on(replica, labs.own_rows(ranks)) * ranks.world_size
    loss.backward()
    return labs.gradient_norm(replica)


def fixed(ranks: dist.Ranks) -> float:
    replica = DistributedDataParallel(labs.small_model())
    loss = labs.loss_on(replica, labs.own_rows(ranks))
    loss.backward()
    return labs.gradient_norm(replica)


def detect(ranks: dist.Ranks, got: float) -> None:
    alone = labs.small_model()  # one process, all 16 rows
    labs.loss_on(alone, range(16)).backward()
    labs.expect("length of the gradient", got, want=labs.gradient_norm(alone))


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"length of the gradient: 0\.\d+ on rank 0.*; right is 0\.\d+",
)

if __name__ == "__main__":
    LAB.main()
