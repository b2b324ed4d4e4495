"""One rank has one batch more than the others: a hang at the end of the epoch.

Symptom   Hangs in the last step. After the timeout: "rank 1 is at ... never reached the
          call that the others were waiting in".
Cause     17 rows in batches of 4: rank 0 has three batches, rank 1 two. DDP
          communicates in every backward, and rank 1 has no third one.
Fix       Split the rows so that all ranks take the same number of steps (`ShardSampler`
          or `DistributedSampler` pad or drop), or wrap the loop in DDP's `join()`.
Detector  A short timeout, and `distrinews.dist.failures`, which names the ranks that
          waited, and where.
Look at   Rank 0 waits in backward; rank 1 has finished and waits in
          wait_for_other_ranks.
Question  How many batches does each rank have? Where does that number come from?
Source    https://github.com/pytorch/pytorch/issues/33148
Concept   understand/sharding
Silent    no
Takes     8 s
"""

from __future__ import annotations

from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist, sharding
from distrinews.course import labs


def train(rows: list[int]) -> int:
    inputs, labels = labs.small_data(17)
    replica = DistributedDataParallel(labs.small_model())
    batches = [rows[start : start + 4] for start in range(0, len(rows), 4)]
    print(f"rank {dist.current().rank}: {len(batches)} batches in this epoch")
    for batch in batches:
        F.cross_entropy(replica(inputs[batch]), labels[batch]).backward()
    return len(batches)


def broken(ranks: dist.Ranks) -> int:
    return train(list(range(17))[ranks.rank :: ranks.world_size])


def fixed(ranks: dist.Ranks) -> int:
    sampler = sharding.ShardSampler(17, ranks, seed=0, drop_last=True)
    return train(list(sampler))


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("steps", got, want=2)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"rank 1 is at .*never reached .*others were waiting in: rank 0",
)

if __name__ == "__main__":
    LAB.main()
