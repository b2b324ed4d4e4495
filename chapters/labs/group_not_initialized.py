"""A collective in a process that belongs to no group.

Symptom   "ValueError: Default process group has not been initialized, please make
          sureprocess_group."
Cause     The script was started with plain python, and nothing called
          init_process_group.
Fix       Start it with a launcher, or use functions that also work in one process:
          `dist.current`, `dist.sum_over_ranks`.
Detector  torch itself.
Look at   The line of the script in the traceback. Which collective comes first?
Question  What should a mean over all ranks be when there is one process?
Source    https://github.com/zcablii/LSKNet/issues/54
Concept   understand/processes-and-ranks
Silent    no
Takes     3 s
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist

from distrinews import dist
from distrinews.course import labs


def broken() -> float:
    # Written for several ranks, started as `python evaluate.py`.
    loss = torch.tensor(1.5)
    torch_dist.all_reduce(loss)
    return loss.item() / torch_dist.get_world_size()


def fixed() -> float:
    # Without a process group the library's sum returns its argument.
    return dist.sum_over_ranks(1.5) / dist.current().world_size


def detect(ranks: dist.Ranks, got: float) -> None:
    labs.expect("mean loss", got, want=1.5)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"Default process group has not been initialized, please make sure",
    num_ranks=0,
)

if __name__ == "__main__":
    LAB.main()
