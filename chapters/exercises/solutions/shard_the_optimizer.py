"""Reduce-scatter the gradient, step on this rank's part, all-gather the weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as torch_dist

from distrinews import dist


def solve(
    ranks: dist.Ranks,
    weights: torch.Tensor,
    gradient_at: Callable[[int], torch.Tensor],
    make_adam: Callable[[list[torch.Tensor]], torch.optim.Adam],
    num_steps: int,
) -> torch.optim.Adam:
    # A copy: all_gather_into_tensor must not read what it writes.
    own = weights.chunk(ranks.world_size)[ranks.rank].clone()  # [P / W]
    own.grad = torch.empty_like(own)
    optimizer = make_adam([own])
    for step in range(num_steps):
        torch_dist.reduce_scatter_tensor(own.grad, gradient_at(step))
        own.grad /= ranks.world_size
        optimizer.step()
        # In every step, because the next gradient needs all new weights.
        torch_dist.all_gather_into_tensor(weights, own)
    return optimizer
