"""The check of clip_together."""

from __future__ import annotations

import torch
from torch import nn

from distrinews.course import exercises

# Means: [3, 0] and [0, 4]: norm 5. Both ranks' own gradients are longer.
OWN = (([9.0, 0.0], [0.0, 0.0]), ([-3.0, 0.0], [0.0, 8.0]))


def check(harness: exercises.Harness) -> None:
    for max_norm, factor in ((1.0, 0.2), (10.0, 1.0)):
        net = nn.ParameterList([nn.Parameter(torch.zeros(2)) for _ in range(2)])
        for param, own in zip(net, OWN[harness.ranks.rank], strict=True):
            param.grad = torch.tensor(own)
        _, trace = harness.run(net, max_norm)
        grads = [param.grad for param in net if param.grad is not None]
        got = [round(float(value), 4) for value in torch.cat(grads)]
        harness.expect(
            f"gradient after clipping to {max_norm:g}",
            got,
            want=[3.0 * factor, 0.0, 0.0, 4.0 * factor],
            why="Its norm is that of the averaged gradient, over all parameters.",
        )
        harness.at_most(
            "collectives", trace.calls(), limit=1, why="The norm needs no message."
        )


EXERCISE = exercises.Exercise(check=check)
