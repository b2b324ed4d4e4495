"""The check of accumulate_quietly."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews.course import exercises


def loss_of(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    loss: torch.Tensor = model(batch).square().mean()
    return loss


def check(harness: exercises.Harness) -> None:
    torch.manual_seed(0)
    net = nn.Linear(5, 3)
    batches = torch.randn(2, 4, 6, 5)  # [W, micro-batches, rows, numbers]
    reference = copy.deepcopy(net)
    loss_of(reference, batches.flatten(0, 2)).backward()
    model = DistributedDataParallel(net)
    _, trace = harness.run(
        model, list(batches[harness.ranks.rank]), loss_of, watch=model
    )
    got, want = net.weight.grad, reference.weight.grad
    if got is None or want is None:
        got = want = torch.zeros(1)
        harness.reject_if(True, "there is no gradient.")
    ratio = float((got * want).sum() / want.square().sum())
    harness.reject_if(
        abs(ratio - 4) < 1e-3 and trace.calls() > 0,
        "the gradient is 4 times too large: `.grad` accumulates, and nothing "
        "divides it by the number of micro-batches.",
    )
    gradients = harness.gather_objects(got)
    harness.reject_if(
        not torch.equal(gradients[0], gradients[1]),
        "the ranks hold different gradients: the last backward did not average.",
    )
    harness.expect("gradient by that of one process", ratio, want=1.0)
    harness.reject_if(
        not torch.allclose(got, want, atol=1e-6), "some of its numbers differ."
    )
    harness.at_most(
        "all-reduces",
        trace.calls(),
        limit=1,
        why="The ranks communicated in more than one backward.",
    )


EXERCISE = exercises.Exercise(check=check)
