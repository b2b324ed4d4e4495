"""Leaves its hooks on the model.

Rejected  hooks are still there
"""

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
        if param.grad is not None:
            sent.append((torch_dist.all_reduce(param.grad, async_op=True), param.grad))

    for param in model.parameters():
        param.register_post_accumulate_grad_hook(start)
    backward()
    for work, grad in sent:
        work.wait()
        grad /= ranks.world_size
