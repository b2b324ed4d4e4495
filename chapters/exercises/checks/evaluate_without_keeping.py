"""The check of evaluate_without_keeping."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from distrinews.course import exercises, tensor_memory

ROWS, CLASSES = 64, 1000
NUM_BATCHES = (40, 50)
LIMIT_BYTES = 2_000_000  # some 8 batches of logits


def check(harness: exercises.Harness) -> None:
    torch.manual_seed(0)
    net = nn.Linear(16, CLASSES)
    batches = [
        (torch.randn(ROWS, 16), torch.randint(CLASSES, (ROWS,)))
        for _ in range(sum(NUM_BATCHES))
    ]
    for inputs, labels in batches[::3]:  # some answers must be right
        with torch.no_grad():
            labels.copy_(net(inputs).argmax(dim=1))
    inputs, labels = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
    with torch.no_grad():
        logits = net(inputs)
    loss = F.cross_entropy(logits.double(), labels).item()
    accuracy = (logits.argmax(dim=1) == labels).double().mean().item()
    first = NUM_BATCHES[0]
    local_batches = batches[:first] if harness.ranks.is_main else batches[first:]
    graphs: list[bool] = []
    net.register_forward_hook(lambda *_: graphs.append(torch.is_grad_enabled()))
    with tensor_memory.TensorWatch() as watch:
        got, trace = harness.run(net, local_batches)
    harness.expect(
        "mean loss and accuracy",
        [round(float(value), 4) for value in got],
        want=[round(loss, 4), round(accuracy, 4)],
        why="Sums and counts add up over ranks; means do not.",
    )
    harness.at_most(
        "collectives", trace.calls(), limit=1, why="All sums fit into one tensor."
    )
    harness.at_most(
        "bytes given to them", trace.num_bytes, limit=64, why="Sums are enough."
    )
    harness.at_most(
        "bytes of tensors alive at once",
        watch.peak_bytes,
        limit=LIMIT_BYTES,
        why="Autograd keeps what backward() would need for every batch whose loss is "
        "still referenced."
        if any(graphs)
        else "The logits of earlier batches are still referenced.",
    )


EXERCISE = exercises.Exercise(check=check)
