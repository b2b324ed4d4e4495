"""The check of are_we_equal."""

from __future__ import annotations

import torch
from torch import nn

from distrinews.course import exercises


def build(rank: int, drift: str) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(50, 50), nn.BatchNorm1d(50))
    if rank == 0:
        return net
    with torch.no_grad():
        weight = net.get_parameter("0.weight")
        if drift == "one weight, by a hair":
            weight[3, 4] = torch.nextafter(weight[3, 4], torch.tensor(9.0))
        if drift == "two weights swapped":
            weight[0, 0], weight[0, 1] = weight[0, 1].clone(), weight[0, 0].clone()
        if drift == "a buffer":
            net.get_buffer("1.running_mean")[0] = 1.0
    return net


def check(harness: exercises.Harness) -> None:
    drifts = ("none", "one weight, by a hair", "two weights swapped", "a buffer")
    for drift in drifts:
        got, trace = harness.run(build(harness.ranks.rank, drift))
        harness.expect(f"equal, with drift: {drift}", got, want=drift == "none")
        harness.at_most(
            "bytes given to collectives",
            trace.num_bytes,
            limit=64,
            why="A hash is enough to compare.",
        )


EXERCISE = exercises.Exercise(check=check)
