"""The check of one_message."""

from __future__ import annotations

import torch
from torch import nn

from distrinews.course import exercises


def check(stage: exercises.Stage) -> None:
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(6)))
    start = [
        torch.full_like(param, 10.0 * number + stage.ranks.rank)
        for number, param in enumerate(net.parameters())
    ]
    for param, grad in zip(net.parameters(), start, strict=True):
        param.grad = grad
    _, seen = stage.run(net)
    grads = [param.grad for param in net.parameters() if param.grad is not None]
    got = [grad.unique().tolist() for grad in grads]
    unchanged = all(row == [10.0 * n + stage.ranks.rank] for n, row in enumerate(got))
    stage.reject_if(
        unchanged,
        "the gradients are what they were: the copy was averaged, and nobody copied it "
        "back.",
    )
    stage.expect(
        "value of each gradient", got, want=[[10.0 * n + 0.5] for n in range(len(got))]
    )
    stage.at_most(
        "collectives",
        seen.calls(),
        limit=1,
        why="Each call costs its latency on every rank, however small its tensor.",
    )


EXERCISE = exercises.Exercise(check=check)
