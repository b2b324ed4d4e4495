"""The check of evaluate_without_keeping."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from distrinews.course import exercises, tensor_memory

ROWS, CLASSES = 64, 1000
NUM_BATCHES = (40, 50)
LIMIT_BYTES = 2_000_000  # some 8 batches of logits


def check(stage: exercises.Stage) -> None:
    torch.manual_seed(0)
    net = nn.Linear(16, CLASSES)
    every = [
        (torch.randn(ROWS, 16), torch.randint(CLASSES, (ROWS,)))
        for _ in range(sum(NUM_BATCHES))
    ]
    for inputs, labels in every[::3]:  # some answers shall be right
        with torch.no_grad():
            labels.copy_(net(inputs).argmax(dim=1))
    inputs, labels = (torch.cat(one) for one in zip(*every, strict=True))
    with torch.no_grad():
        logits = net(inputs)
    loss = F.cross_entropy(logits.double(), labels).item()
    accuracy = (logits.argmax(dim=1) == labels).double().mean().item()
    first = NUM_BATCHES[0]
    mine = every[:first] if stage.ranks.is_main else every[first:]
    graphs: list[bool] = []
    net.register_forward_hook(lambda *_: graphs.append(torch.is_grad_enabled()))
    with tensor_memory.TensorWatch() as watch:
        got, seen = stage.run(net, mine)
    stage.expect(
        "mean loss and accuracy",
        [round(float(one), 4) for one in got],
        want=[round(loss, 4), round(accuracy, 4)],
        why="Sums and counts add up over ranks; means do not.",
    )
    stage.at_most(
        "collectives", seen.calls(), limit=1, why="All sums fit into one tensor."
    )
    stage.at_most(
        "bytes given to them", seen.num_bytes, limit=64, why="Sums are enough."
    )
    stage.at_most(
        "bytes of tensors alive at once",
        watch.peak_bytes,
        limit=LIMIT_BYTES,
        why="Autograd keeps what a backward() would need, of every batch whose loss is "
        "still held."
        if any(graphs)
        else "The logits of earlier batches are still held by somebody.",
    )


EXERCISE = exercises.Exercise(check=check)
