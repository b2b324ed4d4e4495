"""The check of uneven_counts."""

from __future__ import annotations

import copy

import torch
from torch import nn

from distrinews.course import exercises


def check(stage: exercises.Stage) -> None:
    torch.manual_seed(0)
    net = nn.Linear(5, 1)
    twin = copy.deepcopy(net)
    rows = torch.randn(8, 5)
    twin(rows).square().mean().backward()
    mine = rows[:6] if stage.ranks.rank == 0 else rows[6:]
    loss, seen = stage.run(net(mine).square().flatten())
    stage.reject_if(
        not isinstance(loss, torch.Tensor) or loss.dim() > 0 or loss.grad_fn is None,
        "it must return a tensor without dimensions that backward() can start from.",
    )
    loss.backward()
    everyone = stage.together(net.weight.grad)
    got = sum(everyone) / 2  # what DDP does
    want = twin.weight.grad
    if want is None:
        return
    ratio = float((got / want).mean())
    stage.reject_if(
        torch.allclose(got, want / 2, atol=1e-6),
        "half of what it should be: DDP divides by the number of ranks; you did, too.",
    )
    stage.reject_if(
        not torch.allclose(got, want, atol=1e-6),
        f"averaged, the gradient is {ratio:.3g} times that of one process: "
        "rank 1's two rows weigh as much as rank 0's six."
        if seen.calls() == 0
        else f"averaged, the gradient is {ratio:.3g} times that of one process.",
    )
    stage.at_most("collectives", seen.calls(), limit=1, why="One count is missing: N.")


EXERCISE = exercises.Exercise(check=check)
