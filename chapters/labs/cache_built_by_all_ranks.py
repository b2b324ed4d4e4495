"""Every rank finds no cache and builds it, at the same time.

Symptom   "times the cache was built: 2 ... right is 1", reported by the detector.
          Sometimes the file is damaged, because two ranks wrote it at once.
Cause     All ranks look for the cache at the same moment, and none finds it.
Fix       Rank 0 first, then the others (`dist.rank0_first`), with a timeout longer than
          the work.
Detector  A count of the ranks that built it.
Look at   What each rank found when it looked for the cache.
Question  With several machines and no shared disk: which ranks must build it?
Source    https://github.com/huggingface/trl/issues/7223
Concept   understand/processes-and-ranks
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import time

import torch.distributed as torch_dist

from distrinews import dist
from distrinews.course import labs


def build_if_missing() -> int:
    cache = labs.folder() / "tokens.bin"
    if cache.exists():
        return 0
    time.sleep(0.5)  # tokenises a million rows
    cache.write_bytes(bytes(1000))
    return 1


def broken(ranks: dist.Ranks) -> int:
    torch_dist.barrier()
    return dist.sum_over_ranks(build_if_missing())


def fixed(ranks: dist.Ranks) -> int:
    with dist.rank0_first():
        num_built = build_if_missing()
    return dist.sum_over_ranks(num_built)


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("times the cache was built", got, want=1)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"times the cache was built: 2 on rank 0, 2 on rank 1; right is 1",
)

if __name__ == "__main__":
    LAB.main()
