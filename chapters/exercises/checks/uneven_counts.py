"""The check of uneven_counts."""

from __future__ import annotations

import copy

import torch
from torch import nn

from distrinews.course import exercises


def check(harness: exercises.Harness) -> None:
    torch.manual_seed(0)
    net = nn.Linear(5, 1)
    reference = copy.deepcopy(net)
    rows = torch.randn(8, 5)
    reference(rows).square().mean().backward()
    local_rows = rows[:6] if harness.ranks.rank == 0 else rows[6:]
    loss, trace = harness.run(net(local_rows).square().flatten())
    harness.reject_if(
        not isinstance(loss, torch.Tensor) or loss.dim() > 0 or loss.grad_fn is None,
        "it must return a tensor without dimensions that backward() can start from.",
    )
    loss.backward()
    gradients_by_rank = harness.gather_objects(net.weight.grad)
    got = sum(gradients_by_rank) / 2  # what DDP does
    want = reference.weight.grad
    if want is None:
        return
    ratio = float((got / want).mean())
    harness.reject_if(
        torch.allclose(got, want / 2, atol=1e-6),
        "half of what it should be: DDP divides by the number of ranks; so did you.",
    )
    harness.reject_if(
        not torch.allclose(got, want, atol=1e-6),
        f"averaged, the gradient is {ratio:.3g} times that of one process: "
        "rank 1's two rows weigh as much as rank 0's six."
        if trace.calls() == 0
        else f"averaged, the gradient is {ratio:.3g} times that of one process.",
    )
    harness.at_most(
        "collectives", trace.calls(), limit=1, why="One count is missing: N."
    )


EXERCISE = exercises.Exercise(check=check)
