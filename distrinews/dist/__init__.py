"""Start ranks, let them communicate, and name the rank that failed.

A rank is one process that trains one replica. The same function runs alone, under
`launch` and under torchrun. With one rank there is no process group, and every
collective uses that rank's value only.

- `launcher`: `launch` starts the ranks, `rank0_first` orders them.
- `process_group`: `setup` joins and leaves it; `Ranks` and `current` tell which rank
  this process is.
- `collectives`: sums, shared objects, and votes before any rank raises.
- `spawn`: one process per rank, and no process left behind.
- `failures`: finds the error that explains the others.
- `stacks`: which line a rank is executing.

Not here: which rank reads which row (`distrinews.sharding`).

Guide: understand/launchers.
"""

from __future__ import annotations

from typing import NoReturn

import torch.distributed as torch_dist

from distrinews.dist.collectives import (
    broadcast_object,
    gather_objects,
    raise_together,
    sum_over_ranks,
    vote_then_raise,
)
from distrinews.dist.launcher import launch, rank0_first
from distrinews.dist.process_group import Ranks, current, launched_world_size, setup

__all__ = [
    "Ranks",
    "broadcast_object",
    "current",
    "gather_objects",
    "launch",
    "launched_world_size",
    "raise_together",
    "rank0_first",
    "setup",
    "sum_over_ranks",
    "vote_then_raise",
]


def __getattr__(name: str) -> NoReturn:
    # Learners paste code from tutorials in which `dist` is torch's module.
    if hasattr(torch_dist, name):
        raise AttributeError(
            f"distrinews.dist has no {name!r}; torch.distributed has. In this course "
            f"it is written torch_dist.{name}, after "
            "`import torch.distributed as torch_dist`."
        )
    raise AttributeError(f"module 'distrinews.dist' has no attribute {name!r}")
