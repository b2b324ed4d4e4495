"""Evaluate any model on all ranks: every row counted once, none twice.

Promise: the figures are those that a single process would have counted, with any number
of ranks, also where rows do not divide by them and where the model holds buffers that
differ between ranks (BatchNorm); and they are figures of the model that rank 0 saves.

Not here: what is made of the counts (`distrinews.metrics.classification`,
`distrinews.metrics.sums`), which rank takes which batch (`distrinews.sharding`).

Guide: understand/exact-evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from distrinews import dist, sync
from distrinews.errors import DataError
from distrinews.sync.wrappers import HookedModule

__all__ = ["Metrics", "evaluate", "predict_pair"]


class Metrics(Protocol):
    """What `evaluate` fills: one of this room's classes, or one of your own.

    Attributes:
        num_rows: How many rows were counted.
    """

    @property
    def num_rows(self) -> int:
        """How many rows were counted."""

    @property
    def update(self) -> Callable[..., None]:
        """Count one batch, with what `forward` returned as arguments."""

    def all_reduce(self) -> Any:
        """Return the sums of all ranks."""


M = TypeVar("M", bound=Metrics)


def predict_pair(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    """Call a model on a batch of inputs and targets.

    Args:
        model: Called with the inputs; with keywords where they are a dict.
        batch: A pair (inputs, targets) of tensors; inputs may be a dict of tensors.

    Returns:
        What the model returned, and the targets on the model's device.

    Examples:
        >>> predict_pair(nn.Identity(), (torch.ones(1), torch.zeros(1)))
        (tensor([1.]), tensor([0.]))
    """
    inputs, targets = batch
    device = next((param.device for param in model.parameters()), targets.device)
    if isinstance(inputs, dict):
        inputs = {name: value.to(device) for name, value in inputs.items()}
        return model(**inputs), targets.to(device)
    return model(inputs.to(device)), targets.to(device)


def evaluate(
    model: nn.Module,
    batches: Iterable[Any],
    metrics: M,
    *,
    forward: Callable[[nn.Module, Any], tuple[Any, ...]] = predict_pair,
    num_rows: int | None = None,
) -> M:
    """Count a model's answers over all ranks.

    Collective: every rank must call it, also one without batches.

    Args:
        model: The model, or its DDP wrapper, which is not called: only the model in it.
        batches: This rank's batches, such as a `DataLoader` whose `batch_sampler` is
            `sharding.evaluation_batches(...)`. Ranks may hold different numbers.
        metrics: New and empty; it receives this rank's counts.
        forward: Called with the model and each batch; returns the arguments of
            `metrics.update`. Must not communicate: batch counts may differ.
        num_rows: How many rows all ranks together should count. None: the length of the
            data set, where `batches` is a `DataLoader` that knows it; else not checked.
            Give it if you evaluate a part, or if each rank holds a data set of its own.

    Returns:
        The metrics of all rows, the same on every rank.

    Raises:
        DistriNewsError: What a rank's data, model or metrics raised (`RankFailedError`
            with its traceback where it is no error of this library). On every rank.
        DataError: The ranks counted more or fewer rows. On every rank.

    Note:
        Every rank evaluates with rank 0's buffers: those of the next checkpoint, and
        those that DDP would send before the next training step. On the other ranks they
        replace the model's own. Each module is put back into its training mode, and so
        are torch's random states: dropout continues as if nothing had been evaluated.
        Cost: one broadcast per buffer, no collective per batch, then two votes of 8
        bytes and the metrics' own `all_reduce`.

    Examples:
        >>> from distrinews.metrics.classification import ClassificationMetrics
        >>> batches = [(torch.eye(2), torch.tensor([0, 1]))]
        >>> spam = ClassificationMetrics(class_names=("ham", "spam"))
        >>> evaluate(nn.Identity(), batches, spam, num_rows=2).accuracy
        1.0
    """
    net = _without_wrapper(model)
    # WHY: BatchNorm's statistics are each rank's own rows'. W ranks would answer as W
    # different models, and none of them need be the one that is saved.
    sync.broadcast_buffers(net)
    modes = [(module, module.training) for module in net.modules()]
    device = dist.current().device
    gpus = [device.index] if device.type == "cuda" else []
    # WHY raise_together: a rank that raised alone would leave the others waiting in
    # `all_reduce`. WHY fork_rng: a DataLoader draws a number when it is iterated.
    with dist.raise_together(), torch.random.fork_rng(gpus):
        net.eval()
        try:
            # WHY not inference_mode: what a model keeps of a forward (a table of
            # positions, for one) could not be used in training afterwards.
            with torch.no_grad():
                for batch in batches:
                    metrics.update(*forward(net, batch))
        finally:
            for module, training in modes:  # a frozen BatchNorm stays frozen
                module.training = training
    total: M = metrics.all_reduce()
    if num_rows is None and isinstance(batches, DataLoader):
        num_rows = len(batches.dataset) if hasattr(batches.dataset, "__len__") else None
    is_wrong = num_rows is not None and total.num_rows != num_rows
    problem = DataError(
        f"{total.num_rows} rows were counted over all ranks, not {num_rows}.",
        why="a row that is counted twice or never makes every figure that of another "
        "data set; DistributedSampler, for one, repeats rows.",
        fix="DataLoader(data, batch_sampler=sharding.evaluation_batches(len(data), "
        "ranks, batch_size=64)), and num_rows=... if you evaluate a part.",
        page="evaluation",
    )
    # WHY a vote: ranks may hold data sets of different lengths.
    dist.vote_then_raise(problem if is_wrong else None)
    return total


def _without_wrapper(model: nn.Module) -> nn.Module:
    """The model in a wrapper whose forward communicates."""
    inner = getattr(model, "_orig_mod", model)  # torch.compile around the wrapper
    if isinstance(inner, DistributedDataParallel | HookedModule):
        return inner.module
    return model
