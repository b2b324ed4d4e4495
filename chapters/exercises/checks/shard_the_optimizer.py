"""The check of shard_the_optimizer."""

from __future__ import annotations

import torch

from distrinews.course import exercises

SIZE, NUM_STEPS = 1000, 4


def make_adam(tensors: list[torch.Tensor]) -> torch.optim.Adam:
    # WHY such an epsilon: with a small one Adam takes the same step for a gradient that
    # is W times too large, and a forgotten division would not show.
    return torch.optim.Adam(tensors, lr=0.1, eps=0.5)


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    return sum(
        value.nbytes
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor) and value.dim() > 0
    )


def one_process(
    start: torch.Tensor, targets: torch.Tensor, *, factor: float = 1
) -> tuple[torch.Tensor, torch.optim.Adam]:
    """Weights and optimizer of one process: the mean of `w - target` over ranks."""
    weights = start.clone()
    optimizer = make_adam([weights])
    for target in targets:
        weights.grad = factor * (weights - target)
        optimizer.step()
    return weights, optimizer


def check(harness: exercises.Harness) -> None:
    torch.manual_seed(0)
    world_size = harness.ranks.world_size
    start = torch.randn(SIZE)
    targets = torch.randn(world_size, NUM_STEPS, SIZE)  # of each rank's rows

    whole, reference = one_process(start, targets.mean(dim=0))
    summed, _ = one_process(start, targets.mean(dim=0), factor=world_size)

    weights = start.clone()
    steps: list[int] = []

    def gradient_at(step: int) -> torch.Tensor:
        steps.append(step)
        return weights - targets[harness.ranks.rank, step]

    optimizer, trace = harness.run(weights, gradient_at, make_adam, NUM_STEPS)
    harness.reject_if(
        steps != list(range(NUM_STEPS)),
        f"gradient_at was called with {steps}; it should be once per step, from 0.",
    )
    harness.reject_if(
        torch.allclose(weights, summed, atol=1e-5),
        "the gradients were added up and not averaged: these are the weights for a "
        f"gradient {world_size} times too large.",
    )
    gap = float((weights - whole).abs().max())
    harness.reject_if(
        gap > 1e-5,
        f"some weight is {gap:.2g} away from that of one process. Every element needs "
        "the mean of all ranks' gradients, and every gradient all the new weights.",
    )
    harness.at_most(
        "bytes of the optimizer's state",
        state_bytes(optimizer),
        limit=state_bytes(reference) // world_size,
        why="A rank needs Adam's averages only of the part that it updates.",
    )
    harness.at_most(
        "collectives",
        trace.calls(),
        limit=2 * NUM_STEPS,
        why="One gives each rank its part of the gradient, the other collects the "
        "parts of the weights.",
    )
    harness.at_most(
        "all-reduces",
        trace.calls("all_reduce"),
        limit=0,
        why="It gives every rank the whole gradient, which sends twice as much as "
        "giving each its part.",
    )


EXERCISE = exercises.Exercise(check=check)
