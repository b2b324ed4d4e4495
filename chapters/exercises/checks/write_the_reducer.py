"""The check of write_the_reducer."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews.course import exercises


def check(stage: exercises.Stage) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(32, 32) for _ in range(4)))
    inputs = torch.randn(2, 8, 32)
    want = copy.deepcopy(net)
    want(inputs.flatten(0, 1)).square().mean().backward()
    begun: list[int] = []
    handles: list[bool] = []
    send = torch_dist.all_reduce

    def counted(*args: Any, **kwargs: Any) -> Any:
        handles.append(bool(kwargs.get("async_op")))
        return send(*args, **kwargs)

    def backward() -> None:
        with stage.phase("forward"):
            loss = net(inputs[stage.ranks.rank]).square().mean()
        with stage.phase("backward"):
            loss.backward()
        begun.append(len(handles))

    torch_dist.all_reduce = counted
    try:
        stage.run(net, backward)
        got = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        net(inputs[0]).sum().backward()  # are hooks left that would send again?
        stage.wait_for_the_others_solutions_to_end()
    finally:
        torch_dist.all_reduce = send
    stage.reject_if(len(begun) != 1, f"backward was called {len(begun)} times.")
    stage.reject_if(
        begun[0] == 0,
        "no all-reduce had begun when backward() returned: nothing overlaps.",
    )
    stage.reject_if(
        not all(handles),
        "an all-reduce blocks inside a hook: backward stands still until it is over.",
    )
    right = [p.grad for p in want.parameters() if p.grad is not None]
    for (name, _), mine, whole in zip(net.named_parameters(), got, right, strict=True):
        stage.reject_if(
            not torch.allclose(mine, whole, atol=1e-7),
            f"gradient of {name} is not the mean: "
            f"{float((mine / whole).median()):.3g} times what it should be.",
        )
    stage.expect("all-reduces begun during backward", begun[0], want=len(got))
    stage.reject_if(
        len(handles) > len(got),
        "the hooks are still there: the next backward sends again.",
    )


EXERCISE = exercises.Exercise(check=check)
