"""The parts of a training loop that every chapter needs: seeds, optimizer, schedule.

Promise: built the same way on one process and on many, so that chapters differ only in
what they are about. The loop itself stands in the chapters, in plain sight.

Not here: data (`distrinews.news`), the model (`distrinews.model`), saving
(`distrinews.runs`).

Guide: learn/single-gpu.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from distrinews.dist import Ranks
from distrinews.settings import TrainSettings

__all__ = [
    "Plan",
    "build_optimizer",
    "build_scheduler",
    "plan",
    "seed_noise",
    "seed_weights",
]

# Far more ranks than this course will ever start; keeps the ranks' seeds apart from
# those of another run with the next seed.
SEED_STRIDE = 100_003


@dataclass(frozen=True)
class Plan:
    """How many optimizer steps a run takes.

    Attributes:
        steps_per_epoch: Whole global batches in the training rows.
        num_steps: Steps of all epochs; the learning rate follows this number.
        last_step: Where to stop: `num_steps`, or earlier by `--max-steps`.
    """

    steps_per_epoch: int
    num_steps: int
    last_step: int


def plan(settings: TrainSettings, *, num_rows: int) -> Plan:
    """Count the steps of a run; the number of ranks does not change them.

    Args:
        settings: Global batch size, epochs, where to stop.
        num_rows: Rows to train on.

    Returns:
        The plan. The last `num_rows mod global_batch_size` rows of an epoch's order are
        left out, other ones each epoch.

    Examples:
        >>> plan(TrainSettings(epochs=2, max_steps=5), num_rows=100)
        Plan(steps_per_epoch=3, num_steps=6, last_step=5)
    """
    steps_per_epoch = num_rows // settings.global_batch_size
    num_steps = settings.epochs * steps_per_epoch
    last_step = min(num_steps, settings.max_steps or num_steps)
    return Plan(steps_per_epoch, num_steps, last_step)


def seed_weights(seed: int) -> None:
    """Make the next random weights the same on every rank.

    Why: averaging gradients keeps equal replicas equal; it never makes different ones
    equal. (DDP also copies rank 0's weights to all when it is built; the seed makes
    the run repeatable, with any number of ranks.)

    Args:
        seed: The run's seed.

    Examples:
        >>> seed_weights(0)
        >>> first = torch.rand(1)
        >>> seed_weights(0)
        >>> bool(torch.rand(1) == first)
        True
    """
    torch.manual_seed(seed)


def seed_noise(seed: int, *, ranks: Ranks) -> None:
    """Make the noise of training (dropout) differ by rank, and be repeatable.

    Why: with the same noise on every rank, all replicas would drop the same neurons,
    and W times the rows would bring less than W times the variety. Nothing raises.

    Args:
        seed: The run's seed.
        ranks: Who this process is.

    Examples:
        >>> seed_noise(0, ranks=Ranks(1, 1, 2, torch.device("cpu")))
    """
    torch.manual_seed(seed * SEED_STRIDE + 1 + ranks.rank)


def build_optimizer(net: nn.Module, *, settings: TrainSettings) -> Optimizer:
    """Build the optimizer for a model's trainable parameters.

    Args:
        net: The model, already on its device.
        settings: Kind, learning rate, weight decay.

    Returns:
        AdamW or SGD. Its step is local: replicas with equal gradients take equal steps
        without a word to each other.

    Examples:
        >>> build_optimizer(nn.Linear(1, 1), settings=TrainSettings()).defaults["lr"]
        0.0002
    """
    parameters = [p for p in net.parameters() if p.requires_grad]
    if settings.optimizer == "sgd":
        return SGD(parameters, lr=settings.peak_learning_rate)
    return AdamW(
        parameters,
        lr=settings.peak_learning_rate,
        weight_decay=settings.weight_decay,
        # One pass over all parameters instead of a dozen.
        fused=True,
    )


def build_scheduler(
    optimizer: Optimizer, *, settings: TrainSettings, plan: Plan
) -> LambdaLR:
    """Build the learning rate's course: up to its peak, then down to zero, in lines.

    Why warm up: AdamW divides by a running estimate of the gradients' size. In the
    first steps that estimate is poor, and full steps would undo the pretraining.

    Args:
        optimizer: Its learning rate is the peak.
        settings: The part of the steps in which the rate rises.
        plan: How many steps there are.

    Returns:
        A scheduler; call its `step()` after each optimizer step.

    Examples:
        >>> optimizer = SGD(nn.Linear(1, 1).parameters(), lr=1.0)
        >>> settings = TrainSettings(warmup_fraction=0.5, global_batch_size=1)
        >>> four = plan(settings, num_rows=4)
        >>> scheduler = build_scheduler(optimizer, settings=settings, plan=four)
        >>> optimizer.param_groups[0]["lr"]
        0.5
    """
    warmup = max(1, round(settings.warmup_fraction * plan.num_steps))

    def part_of_peak(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (plan.num_steps - step) / max(1, plan.num_steps - warmup))

    return LambdaLR(optimizer, part_of_peak)
