"""Evaluate any model on all ranks, with every row counted exactly once.

With any number of ranks the metrics equal those of a single process, even if the rows
cannot be divided equally, or if the model holds buffers that differ between ranks
(BatchNorm). And they describe the model that rank 0 saves.

Not here: the metrics themselves (`distrinews.metrics.classification`,
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
    """The object that `evaluate` fills: one of this package's classes, or your own.

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
        model: Called with the inputs, or with keywords if they are a dict.
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

    Collective: every rank must call it, even a rank without batches.

    Args:
        model: The model, or its DDP wrapper; only the model inside is called.
        batches: This rank's batches, such as a `DataLoader` whose `batch_sampler` is
            `sharding.evaluation_batches(...)`. Ranks may hold different numbers.
        metrics: A new, empty object; it receives this rank's counts.
        forward: Called with the model and each batch; returns the arguments of
            `metrics.update`. It must not communicate, because the numbers of batches
            may differ.
        num_rows: How many rows all ranks together should count. None: the length of the
            data set if `batches` is a `DataLoader` that knows it, otherwise no check.
            Pass it if you evaluate only a part, or if each rank holds its own data set.

    Returns:
        The metrics of all rows, the same on every rank.

    Raises:
        DistriNewsError: An error of a rank's data, model or metrics (as a
            `RankFailedError` with its traceback if it is not one of this library's
            errors). On every rank.
        DataError: The ranks counted more or fewer rows. On every rank.

    Note:
        Every rank evaluates with rank 0's buffers, which the next checkpoint holds and
        which DDP would send before the next training step. They replace the buffers of
        the other ranks. Afterwards each module's training mode and torch's random
        states are restored, so dropout continues as if there had been no evaluation.
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
    # Each rank's BatchNorm has statistics of its own rows, so W ranks would evaluate W
    # different models, and rank 0 saves only one of them.
    sync.broadcast_buffers(net)
    modes = [(module, module.training) for module in net.modules()]
    device = dist.current().device
    gpus = [device.index] if device.type == "cuda" else []
    # raise_together, because a rank that raised alone would leave the others waiting in
    # `all_reduce`; fork_rng, because a DataLoader draws a number when it is iterated.
    with dist.raise_together(), torch.random.fork_rng(gpus):
        net.eval()
        try:
            # Not inference_mode: tensors that a model keeps from a forward, such as a
            # table of positions, could not be used in training afterwards.
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
        why="if a row is counted twice or never, every metric describes another data "
        "set; DistributedSampler, for example, repeats rows.",
        fix="DataLoader(data, batch_sampler=sharding.evaluation_batches(len(data), "
        "ranks, batch_size=64)), and num_rows=... if you evaluate a part.",
        page="evaluation",
    )
    # A vote, because ranks may hold data sets of different lengths.
    dist.vote_then_raise(problem if is_wrong else None)
    return total


def _without_wrapper(model: nn.Module) -> nn.Module:
    """The model inside a wrapper whose forward communicates."""
    inner = getattr(model, "_orig_mod", model)  # torch.compile around the wrapper
    if isinstance(inner, DistributedDataParallel | HookedModule):
        return inner.module
    return model
