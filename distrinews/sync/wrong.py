"""Three ways to average gradients that look right, run without an error, and are wrong.

Each was found in code that people learn from. Do not use them; chapter 04 detects them,
and tests/test_sync.py distinguishes each from the right version.

- `ParameterReduced` (huggingface/picotron, issue 39): replicas drift in the first step.
- `ReducedBeforeAccumulation` (hooks by `Tensor.register_hook`): they drift if a step
has more than one micro-batch.
- `backward_with_late_sync_flag` (karpathy/build-nanogpt, pull request 30): the same.

Not here: the right versions (`distrinews.sync`, `distrinews.sync.overlap`).

Guide: understand/gradient-sync.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.sync.average import no_sync_unless
from distrinews.sync.overlap import Overlapped
from distrinews.sync.replicas import max_parameter_gap
from distrinews.sync.wrappers import HookedModule

__all__ = [
    "ParameterReduced",
    "ReducedBeforeAccumulation",
    "backward_with_late_sync_flag",
    "drifts",
    "table",
]


class ParameterReduced(HookedModule):
    """WRONG: averages the parameter instead of its gradient.

    `register_post_accumulate_grad_hook` passes the *parameter* to its hook; the
    gradient is `param.grad`. Here the weights are averaged before the optimizer changes
    them: they are still equal, so nothing happens, and every rank keeps its own
    gradient.

    Examples:
        >>> replica = ParameterReduced(nn.Linear(2, 1))  # alone: nothing can go wrong
        >>> replica(torch.ones(4, 2)).sum().backward()
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._register_hooks()

    def _register_hook(self, name: str, param: nn.Parameter) -> None:
        def average(param: torch.Tensor) -> None:
            torch_dist.all_reduce(param.detach())
            param.detach().div_(dist.current().world_size)

        param.register_post_accumulate_grad_hook(average)


class ReducedBeforeAccumulation(HookedModule):
    """WRONG: averages only the newest micro-batch's gradient, not the accumulated sum.

    `register_hook` runs *before* the new gradient is added to `param.grad`. With one
    backward per step that is right. With accumulation the gradients of earlier, local
    micro-batches are already in `param.grad` and are never sent.

    Examples:
        >>> replica = ReducedBeforeAccumulation(nn.Linear(2, 1))
        >>> replica(torch.ones(4, 2)).sum().backward()
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self._register_hooks()

    def _register_hook(self, name: str, param: nn.Parameter) -> None:
        def average(gradient: torch.Tensor) -> torch.Tensor:
            if not self._sync:
                return gradient
            mean = gradient.clone()
            torch_dist.all_reduce(mean)
            return mean / dist.current().world_size

        param.register_hook(average)


def backward_with_late_sync_flag(
    replica: DistributedDataParallel,
    micro_batches: Sequence[Any],
    *,
    loss_of: Callable[[nn.Module, Any], torch.Tensor],
) -> None:
    """Accumulate, WRONG: set the sync flag of a backward after its forward.

    DDP decides in its *forward* whether the backward that follows will communicate.
    If the flag is set later, the last micro-batch's forward still sees the False of the
    one before, and nothing is ever sent.

    Args:
        replica: The DDP wrapper.
        micro_batches: Of one step.
        loss_of: Calls the replica and returns the mean loss of a micro-batch.

    Examples:
        >>> backward_with_late_sync_flag(None, [], loss_of=lambda net, batch: None)
    """
    for index, batch in enumerate(micro_batches):
        loss = loss_of(replica, batch)
        replica.require_backward_grad_sync = index == len(micro_batches) - 1
        (loss / len(micro_batches)).backward()
    if micro_batches:
        # The next step's first forward will also see False.
        replica.require_backward_grad_sync = False


def drifts(
    net: nn.Module,
    micro_batches: Sequence[Any],
    *,
    loss_of: Callable[[nn.Module, Any], torch.Tensor],
) -> dict[str, float]:
    """Take one step in the right way and in each wrong way; compare the replicas.

    Collective: every rank must call it, with two ranks or more.

    Args:
        net: The same weights on every rank; it is not changed.
        micro_batches: Of one step; the last one synchronises.
        loss_of: Calls a replica and returns the mean loss of a micro-batch.

    Returns:
        Name -> largest difference of a weight between ranks. The first entry is the
        right way: 0.0.
    """
    wrappers = {
        "right: distrinews.sync.Overlapped": Overlapped,
        "wrong: averages the parameter": ParameterReduced,
        "wrong: hook before accumulation": ReducedBeforeAccumulation,
        "wrong: flag set after forward": DistributedDataParallel,
    }
    gaps = {}
    for name, wrap in wrappers.items():
        replica = wrap(copy.deepcopy(net))
        optimizer = torch.optim.SGD(replica.parameters(), lr=0.1)
        if wrap is DistributedDataParallel:
            backward_with_late_sync_flag(replica, micro_batches, loss_of=loss_of)
        else:
            for number, batch in enumerate(micro_batches, start=1):
                is_last = number == len(micro_batches)
                with no_sync_unless(is_last, replica=replica):
                    (loss_of(replica, batch) / len(micro_batches)).backward()
        optimizer.step()
        gaps[name] = max_parameter_gap(replica)
    return gaps


def table(gaps: Mapping[str, float]) -> str:
    """Format how far the replicas drifted, one line per way.

    Args:
        gaps: What `drifts` returned.

    Returns:
        Lines.

    Examples:
        >>> table({"wrong: averages the parameter": 0.019})
        'wrong: averages the parameter      replicas differ by 1.9e-02 after one step'
    """
    return "\n".join(
        f"{name:34} replicas differ by {gap:.1e} after one step"
        for name, gap in gaps.items()
    )
