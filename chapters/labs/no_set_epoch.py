"""Never calling set_epoch: every epoch has the same order.

Symptom   "different orders in three epochs: 1 ... right is 3", reported by the
          detector.
Cause     DistributedSampler shuffles with seed + epoch, and only you can tell it the
          epoch.
Fix       Call sampler.set_epoch(epoch) at the start of each epoch, on every rank.
Detector  The orders of two epochs, compared.
Look at   The three lines that rank 0 prints.
Question  Why does the sampler not use torch's global random numbers instead?
Source    https://github.com/pytorch/pytorch/issues/31771
Concept   understand/sharding
Silent    yes
Takes     4 s
"""

from __future__ import annotations

from torch.utils.data import DistributedSampler

from distrinews import dist
from distrinews.course import labs


def broken(ranks: dist.Ranks) -> int:
    sampler: DistributedSampler[int] = DistributedSampler(range(16))  # type: ignore[arg-type]
    orders = []
    for _ in range(3):
        orders.append(tuple(sampler))
        if ranks.is_main:
            print(f"rank 0 reads {orders[-1]}")
    return len(set(orders))


def fixed(ranks: dist.Ranks) -> int:
    sampler: DistributedSampler[int] = DistributedSampler(range(16))  # type: ignore[arg-type]
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)  # before the iterator; the same number on every rank
        orders.append(tuple(sampler))
        if ranks.is_main:
            print(f"rank 0 reads {orders[-1]}")
    return len(set(orders))


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("different orders in three epochs", got, want=3)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"different orders in three epochs: 1 on rank 0, 1 on rank 1; right is 3",
)

if __name__ == "__main__":
    LAB.main()
