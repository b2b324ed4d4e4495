"""Every rank starts one thread per core: the ranks compete for the cores.

Symptom   "threads of all ranks together: ..." is twice the number of cores, reported by
          the detector. The program is right but slow. (torchrun sets 1 thread per rank,
          which is also slow on a large CPU.)
Cause     Each process starts as many threads as there are cores, so W processes start W
          times as many. torchrun prevents that with OMP_NUM_THREADS=1, which leaves
          cores idle.
Fix       Set OMP_NUM_THREADS = cores // ranks before torch is loaded, as `dist.launch`
          does.
Detector  The threads of all ranks, added up.
Look at   Threads per rank times ranks, compared with the number of cores.
Question  Why is it only certain to work if you set it before importing torch?
Source    https://github.com/pytorch/pytorch/issues/22260
Concept   understand/launchers
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import os

import torch

from distrinews import dist
from distrinews.course import labs


def sum_threads(num_threads: int, ranks: dist.Ranks) -> int:
    torch.set_num_threads(num_threads)
    total = dist.sum_over_ranks(torch.get_num_threads())
    if ranks.is_main:
        print(f"{num_threads} threads in each rank, {os.cpu_count()} cores")
    return total


def broken(ranks: dist.Ranks) -> int:
    # The default of a rank that torchrun did not start; torchrun would set 1.
    return sum_threads(os.cpu_count() or 1, ranks)


def fixed(ranks: dist.Ranks) -> int:
    return sum_threads(max(1, (os.cpu_count() or 1) // ranks.world_size), ranks)


def detect(ranks: dist.Ranks, got: int) -> None:
    share = max(1, (os.cpu_count() or 1) // ranks.world_size)
    labs.expect("threads of all ranks together", got, want=share * ranks.world_size)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"threads of all ranks together: (\d+) on rank 0, \1 on rank 1; right",
)

if __name__ == "__main__":
    LAB.main()
