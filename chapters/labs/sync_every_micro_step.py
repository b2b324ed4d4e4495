"""no_sync() around the backward only: it saves nothing.

Symptom   "all-reduces in a step of four micro-batches: 4 ... right is 1", reported by
          the detector. The gradients are right, but the step is slow.
Cause     DDP's forward decides whether the next backward communicates, and this forward
          is outside no_sync().
Fix       Put no_sync() around forward and backward.
Detector  A communication hook that counts the buckets sent.
Look at   How many all-reduces a step needs for any number of micro-batches.
Question  How many megabytes does this waste per step for 66 million weights?
Source    https://github.com/speechbrain/speechbrain/issues/1802
Concept   understand/accumulation
Silent    yes
Takes     4 s
"""

# WHY no `from __future__ import annotations`: DDP checks its hook's annotations.
import torch
import torch.distributed as torch_dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.course import labs


def count_and_send(
    sent: list[int],
    bucket: torch_dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[torch.Tensor]:
    sent.append(bucket.index())
    # The all-reduce that DDP itself does; None means the default group.
    return allreduce_hook(None, bucket)  # type: ignore[arg-type]


def broken(ranks: dist.Ranks) -> int:
    replica = DistributedDataParallel(labs.small_model())
    sent: list[int] = []
    replica.register_comm_hook(sent, count_and_send)
    for _ in range(3):
        loss = labs.loss_on(replica, labs.own_rows(ranks))
        with replica.no_sync():
            loss.backward()
    labs.loss_on(replica, labs.own_rows(ranks)).backward()
    return len(sent)


def fixed(ranks: dist.Ranks) -> int:
    replica = DistributedDataParallel(labs.small_model())
    sent: list[int] = []
    replica.register_comm_hook(sent, count_and_send)
    for _ in range(3):
        with replica.no_sync():
            loss = labs.loss_on(replica, labs.own_rows(ranks))
            loss.backward()
    labs.loss_on(replica, labs.own_rows(ranks)).backward()
    return len(sent)


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("all-reduces in a step of four micro-batches", got, want=1)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"all-reduces in a step of four micro-batches: 4 on rank 0.*; right is 1",
)

if __name__ == "__main__":
    LAB.main()
