"""The check of average_gradients."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from distrinews.course import exercises


def build() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))


def whole_batch_gradients(
    net: nn.Module, parts: list[tuple[torch.Tensor, torch.Tensor]]
) -> list[torch.Tensor]:
    """What one process computes from the rows of all ranks."""
    inputs, labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    reference = copy.deepcopy(net)
    F.cross_entropy(reference(inputs), labels).backward()
    return [p.grad for p in reference.parameters() if p.grad is not None]


def check(harness: exercises.Harness) -> None:
    net = build()
    net.get_parameter("0.bias").requires_grad_(False)
    parts = [
        (torch.randn(5, 6, generator=g), torch.randint(3, (5,), generator=g))
        for g in (torch.Generator().manual_seed(k) for k in range(3))
    ]
    inputs, labels = parts[harness.ranks.rank]
    F.cross_entropy(net(inputs), labels).backward()
    weights = [param.detach().clone() for param in net.parameters()]
    harness.run(net)
    weights_now = [param.detach() for param in net.parameters()]
    harness.reject_if(
        not all(torch.equal(*pair) for pair in zip(weights, weights_now, strict=True)),
        "a parameter has changed: gradients are averaged, the optimizer does the rest.",
    )
    got = [p.grad for p in net.parameters() if p.grad is not None]
    want = whole_batch_gradients(net, parts)
    harness.reject_if(
        len(got) != len(want),
        f"{len(got)} parameters have a gradient, not {len(want)}: a frozen one has "
        "none on any rank, and the optimizer must not move it.",
    )
    pairs = zip(got, want, strict=True)
    harness.reject_if(
        all(
            torch.allclose(averaged, 3 * right, atol=1e-6) for averaged, right in pairs
        ),
        "the gradients are 3 times too large: all_reduce adds up, and a learning rate "
        "would have to change with the number of ranks.",
    )
    names = [name for name, param in net.named_parameters() if param.requires_grad]
    for name, averaged, right in zip(names, got, want, strict=True):
        got_first, want_first = averaged.flatten()[:3], right.flatten()[:3]
        harness.expect(f"gradient of {name}, first numbers", got_first, want=want_first)
        harness.reject_if(
            not torch.allclose(averaged, right, atol=1e-6),
            f"gradient of {name} differs.",
        )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
