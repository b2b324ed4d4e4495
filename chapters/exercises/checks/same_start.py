"""The check of same_start."""

from __future__ import annotations

import torch
from torch import nn

from distrinews.course import exercises


def check(harness: exercises.Harness) -> None:
    torch.manual_seed(harness.ranks.rank)
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    for _ in range(1 + harness.ranks.rank):
        net(torch.randn(4, 3))
    state = {name: value.clone() for name, value in net.state_dict().items()}
    states_by_rank = harness.gather_objects(state)
    _, trace = harness.run(net)
    for name, value in net.state_dict().items():
        harness.reject_if(
            not torch.equal(value, states_by_rank[0][name]),
            f"{name} is not rank 0's"
            + (": it is a buffer, not a parameter." if "running" in name else "")
            + (": it is an integer counter." if "num_batches" in name else ""),
        )
    harness.at_most(
        "collectives",
        trace.calls(),
        limit=2,
        why="Tensors of one type fit into one message.",
    )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
