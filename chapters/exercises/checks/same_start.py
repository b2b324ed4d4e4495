"""The check of same_start."""

from __future__ import annotations

import torch
from torch import nn

from distrinews.course import exercises


def check(stage: exercises.Stage) -> None:
    torch.manual_seed(stage.ranks.rank)
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    for _ in range(1 + stage.ranks.rank):
        net(torch.randn(4, 3))
    before = stage.together({k: v.clone() for k, v in net.state_dict().items()})
    _, seen = stage.run(net)
    for name, value in net.state_dict().items():
        stage.reject_if(
            not torch.equal(value, before[0][name]),
            f"{name} is not rank 0's"
            + (": it is a buffer, and no parameter." if "running" in name else "")
            + (": it counts, in whole numbers." if "num_batches" in name else ""),
        )
    stage.at_most(
        "collectives",
        seen.calls(),
        limit=2,
        why="Tensors of one type can travel together.",
    )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
