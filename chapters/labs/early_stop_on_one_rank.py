"""One rank stops early because of its own loss; the others continue and wait.

Symptom   Hangs after "rank 1 stops". After the timeout: "rank 1 is at ... never reached
          the call that the others were waiting in: rank 0".
Cause     Each rank decides from the loss of its own rows. Rank 1's loss rises once, so
          it leaves the loop, and rank 0 waits for it in the next backward. A barrier
          would not help: it carries no value.
Fix       Decide from a number that is the same on every rank: reduce the loss, or
          broadcast rank 0's decision.
Detector  A short timeout, and `distrinews.dist.failures`, which names the ranks that
          waited, and where.
Look at   Which rank says that it stops, and which one still waits.
Question  Would a barrier before the `if` help? What do the other ranks learn from a
          barrier?
Source    https://github.com/ultralytics/yolov5/pull/8345
Concept   understand/collectives
Silent    no
Takes     8 s
"""

from __future__ import annotations

from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs

# What each rank measures on its own validation rows, epoch by epoch.
LOSSES = ([0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.85, 0.6])


def broken(ranks: dist.Ranks) -> int:
    replica = DistributedDataParallel(labs.small_model())
    best = 1.0
    for epoch in range(4):
        labs.loss_on(replica, labs.own_rows(ranks)).backward()
        loss = LOSSES[ranks.rank][epoch]
        if loss > best:
            print(f"rank {ranks.rank} stops after epoch {epoch}")
            return epoch
        best = loss
    return 4


def fixed(ranks: dist.Ranks) -> int:
    replica = DistributedDataParallel(labs.small_model())
    best = 1.0
    for epoch in range(4):
        labs.loss_on(replica, labs.own_rows(ranks)).backward()
        loss = dist.sum_over_ranks(LOSSES[ranks.rank][epoch]) / ranks.world_size
        if loss > best:  # the same number, so the same answer, on every rank
            return epoch
        best = loss
    return 4


def detect(ranks: dist.Ranks, got: int) -> None:
    # The means are 0.9, 0.8, 0.775, 0.6: they never rise.
    labs.expect("epochs", got, want=4)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"rank 1 is at .*never reached .*others were waiting in: rank 0",
)

if __name__ == "__main__":
    LAB.main()
