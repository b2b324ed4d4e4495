"""The training step that is timed, and the model that takes it: one for all benchmarks.

Not here: the timer (`distrinews.bench.timing`), which rows a step reads (each
measurement).

Guide: understand/performance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from distrinews import dist, model, sync, training
from distrinews.config.settings import DistributedSettings, TrainSettings
from distrinews.dist import Ranks
from distrinews.training.corpus import Splits

if TYPE_CHECKING:
    from transformers import DistilBertForSequenceClassification

__all__ = ["build_net", "replicate", "take_step"]


def build_net(
    splits: Splits, ranks: Ranks, *, settings: TrainSettings
) -> DistilBertForSequenceClassification:
    """Build the model with equal weights on every rank.

    Args:
        splits: The rows, whose vocabulary the model takes.
        ranks: Who this process is.
        settings: Preset, dropout, seed.

    Returns:
        The bare model on the rank's device.

    Raises:
        ModelError: The preset's weights are missing. On this rank only.
    """
    training.seed_weights(settings.seed)
    net = model.build(
        settings.preset,
        dropout=settings.dropout,
        vocabulary_size=len(splits.tokenizer),
        class_names=splits.class_names,
    )
    return net.to(ranks.device)


def replicate(net: nn.Module, *, settings: DistributedSettings) -> nn.Module:
    """Wrap a model so that gradients meet as the settings say, as chapter 05 does.

    Collective: every rank must call it.

    Args:
        net: The bare model, on the rank's device.
        settings: How gradients meet.

    Returns:
        The wrapper; alone the bare model.

    Raises:
        SetupError: Shared memory was asked for, and the ranks share none. On every
            rank.

    Examples:
        >>> replicate(nn.Linear(1, 1), settings=DistributedSettings())
        Linear(in_features=1, out_features=1, bias=True)
    """
    if settings.averaging == "shared":
        return sync.ddp_in_shared_memory(net)
    return sync.wrap_ddp(net, dist.current())


def take_step(
    replica: nn.Module,
    batch: tuple[Mapping[str, torch.Tensor], torch.Tensor],
    *,
    optimizer: Optimizer,
    settings: TrainSettings,
    timer: Any,
    synchronise: bool = True,
) -> None:
    """Take a step as chapter 05 does, each part of it as a phase.

    Collective where the model is a replica whose gradients meet.

    Args:
        replica: Bare or wrapped.
        batch: What `Splits.batch` returned.
        optimizer: Of the replica's parameters.
        settings: To which norm gradients are clipped.
        timer: Has `phase(name)`: a `PhaseTimer` or a `Recorder`.
        synchronise: Whether gradients meet.
    """
    inputs, labels = batch
    optimizer.zero_grad()
    with sync.no_sync_unless(synchronise, replica=replica):
        with timer.phase("forward"):
            loss = F.cross_entropy(replica(**inputs).logits, labels)
        with timer.phase("backward"):
            loss.backward()
    with timer.phase("optimizer"):
        clip_grad_norm_(replica.parameters(), settings.max_gradient_norm)
        optimizer.step()
