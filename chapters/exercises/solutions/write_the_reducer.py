"""A hook on each parameter starts its all-reduce; wait for all after backward()."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module, backward: Callable[[], None]) -> None:
    sent: list[tuple[Any, torch.Tensor]] = []

    def start(param: torch.Tensor) -> None:
        # Post-accumulate, because earlier `.grad` still lacks this backward's part.
        if (grad := param.grad) is not None:
            sent.append((torch_dist.all_reduce(grad, async_op=True), grad))

    hooks = [
        param.register_post_accumulate_grad_hook(start) for param in model.parameters()
    ]
    backward()
    for work, grad in sent:
        work.wait()  # only now may you read it
        grad /= ranks.world_size
    for hook in hooks:
        hook.remove()
