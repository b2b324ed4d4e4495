"""The check of one_message."""

from __future__ import annotations

import torch
from torch import nn

from distrinews.course import exercises


def check(harness: exercises.Harness) -> None:
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(6)))
    start = [
        torch.full_like(param, 10.0 * number + harness.ranks.rank)
        for number, param in enumerate(net.parameters())
    ]
    for param, grad in zip(net.parameters(), start, strict=True):
        param.grad = grad
    _, trace = harness.run(net)
    grads = [param.grad for param in net.parameters() if param.grad is not None]
    got = [grad.unique().tolist() for grad in grads]
    unchanged = all(row == [10.0 * n + harness.ranks.rank] for n, row in enumerate(got))
    harness.reject_if(
        unchanged,
        "the gradients are unchanged: the copy was averaged, but not copied back.",
    )
    harness.expect(
        "value of each gradient", got, want=[[10.0 * n + 0.5] for n in range(len(got))]
    )
    harness.at_most(
        "collectives",
        trace.calls(),
        limit=1,
        why="Each call costs its latency on every rank, however small its tensor.",
    )


EXERCISE = exercises.Exercise(check=check)
