"""The check of write_the_reducer."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews.course import exercises


def check(harness: exercises.Harness) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(32, 32) for _ in range(4)))
    inputs = torch.randn(2, 8, 32)
    reference = copy.deepcopy(net)
    reference(inputs.flatten(0, 1)).square().mean().backward()
    num_begun: list[int] = []
    is_async: list[bool] = []
    send = torch_dist.all_reduce

    def counted(*args: Any, **kwargs: Any) -> Any:
        is_async.append(bool(kwargs.get("async_op")))
        return send(*args, **kwargs)

    def backward() -> None:
        with harness.phase("forward"):
            loss = net(inputs[harness.ranks.rank]).square().mean()
        with harness.phase("backward"):
            loss.backward()
        num_begun.append(len(is_async))

    torch_dist.all_reduce = counted
    try:
        harness.run(net, backward)
        got = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        net(inputs[0]).sum().backward()  # are hooks left that would send again?
        harness.wait_for_other_ranks()
    finally:
        torch_dist.all_reduce = send
    harness.reject_if(
        len(num_begun) != 1, f"backward was called {len(num_begun)} times."
    )
    harness.reject_if(
        num_begun[0] == 0,
        "no all-reduce had begun when backward() returned: nothing overlaps.",
    )
    harness.reject_if(
        not all(is_async),
        "an all-reduce blocks inside a hook: backward stops until it has finished.",
    )
    want = [p.grad for p in reference.parameters() if p.grad is not None]
    for (name, _), averaged, whole in zip(
        net.named_parameters(), got, want, strict=True
    ):
        harness.reject_if(
            not torch.allclose(averaged, whole, atol=1e-7),
            f"gradient of {name} is not the mean: "
            f"{float((averaged / whole).median()):.3g} times what it should be.",
        )
    harness.expect("all-reduces begun during backward", num_begun[0], want=len(got))
    harness.reject_if(
        len(is_async) > len(got),
        "the hooks are still there: the next backward sends again.",
    )


EXERCISE = exercises.Exercise(check=check)
