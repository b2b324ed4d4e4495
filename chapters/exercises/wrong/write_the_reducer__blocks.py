"""Starts the all-reduce in the hook and waits there.

Rejected  blocks inside a hook
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist


def solve(ranks: dist.Ranks, model: nn.Module, backward: Callable[[], None]) -> None:
    def start(param: torch.Tensor) -> None:
        if param.grad is not None:
            torch_dist.all_reduce(param.grad)
            param.grad /= ranks.world_size

    hooks = [
        param.register_post_accumulate_grad_hook(start) for param in model.parameters()
    ]
    backward()
    for hook in hooks:
        hook.remove()
