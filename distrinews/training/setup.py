"""The parts of a training loop that every chapter needs: seeds, sampler, schedule.

Promise: built the same way on one process and on many, so that chapters differ only in
what they are about. The loop itself stands in the chapters, in plain sight.

Not here: data (`distrinews.training.corpus`), the model (`distrinews.model`), saving
(`distrinews.training.runs`).

Guide: learn/single-gpu.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from distrinews import sharding
from distrinews.config.settings import DistributedSettings, TrainSettings
from distrinews.dist import Ranks

__all__ = [
    "Plan",
    "be_deterministic",
    "build_optimizer",
    "build_sampler",
    "build_scheduler",
    "plan",
    "seed_dropout",
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
        save_every_steps: Pause to save after this many steps; None: at epoch ends only.
    """

    steps_per_epoch: int
    num_steps: int
    last_step: int
    save_every_steps: int | None = None

    def next_pause(self, step: int) -> int:
        """Say where to pause next: an epoch ends, a checkpoint is due, or all is done.

        Args:
            step: Steps done.

        Returns:
            A step above `step`, at most `last_step`.

        Examples:
            >>> Plan(10, 20, 20, save_every_steps=4).next_pause(8)
            10
        """
        pauses = [
            self.last_step,
            (step // self.steps_per_epoch + 1) * self.steps_per_epoch,
        ]
        if self.save_every_steps is not None:
            pauses.append((step // self.save_every_steps + 1) * self.save_every_steps)
        return min(pauses)

    def should_validate(self, step: int) -> bool:
        """Say whether the model is to be judged after this step.

        Args:
            step: Steps done.

        Returns:
            True at the end of an epoch, and at the last step wherever it lies.

        Examples:
            >>> [step for step in range(1, 16) if Plan(5, 20, 12).should_validate(step)]
            [5, 10, 12, 15]
        """
        return step % self.steps_per_epoch == 0 or step == self.last_step


def plan(settings: TrainSettings, *, num_rows: int) -> Plan:
    """Count the steps of a run; the number of ranks does not change them.

    Args:
        settings: Global batch size, epochs, where to stop and where to pause.
        num_rows: Rows to train on.

    Returns:
        The plan. The last `num_rows mod global_batch_size` rows of an epoch's order are
        left out, other ones each epoch.

    Examples:
        >>> plan(DistributedSettings(epochs=2, max_steps=5), num_rows=100)
        Plan(steps_per_epoch=3, num_steps=6, last_step=5, save_every_steps=None)
    """
    steps_per_epoch = num_rows // settings.global_batch_size
    num_steps = settings.epochs * steps_per_epoch
    if not isinstance(settings, DistributedSettings):
        return Plan(steps_per_epoch, num_steps, num_steps)  # chapter 01: whole epochs
    last_step = min(num_steps, settings.max_steps or num_steps)
    return Plan(steps_per_epoch, num_steps, last_step, settings.save_every_steps)


def build_sampler(
    lengths: Sequence[int] | np.ndarray, ranks: Ranks, *, settings: DistributedSettings
) -> sharding.ShuffledBatchSampler | sharding.LengthBalancedBatchSampler:
    """Build what tells this rank which rows to read in each step.

    Args:
        lengths: Tokens of each training row [N].
        ranks: The rank that calls, and the world size.
        settings: Kind of batches, their size, the seed.

    Returns:
        A sampler of micro-batches. Its global batches do not depend on the number of
        ranks.

    Examples:
        >>> alone = Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
        >>> settings = DistributedSettings(global_batch_size=2)
        >>> len(build_sampler([7, 3, 8, 4], alone, settings=settings))
        2
    """
    if settings.batches == "shuffled":
        return sharding.ShuffledBatchSampler(
            len(lengths),
            ranks,
            global_batch_size=settings.global_batch_size,
            seed=settings.seed,
            accumulation_steps=settings.accumulation_steps,
        )
    return sharding.LengthBalancedBatchSampler(
        lengths,
        ranks,
        global_batch_size=settings.global_batch_size,
        seed=settings.seed,
        accumulation_steps=settings.accumulation_steps,
    )


def be_deterministic() -> None:
    """Let torch use only algorithms that give the same bits every time.

    Why: on a GPU some sums (the gradient of an embedding, for one) add in whatever
    order threads arrive. Two runs with the same seed then differ in the last bits,
    and a resumed run is no longer bit-exact. On the CPU they are already the same.

    An operation without such an algorithm raises RuntimeError when it is used.

    Examples:
        >>> be_deterministic()
        >>> torch.are_deterministic_algorithms_enabled()
        True
        >>> torch.use_deterministic_algorithms(False)
    """
    # WHY an environment variable: cuBLAS reads it when it starts, and torch raises
    # without it. See its documentation, "Reproducibility".
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


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


def seed_dropout(seed: int, *, ranks: Ranks) -> None:
    """Make dropout differ by rank, and be repeatable.

    Why: with the same random state on every rank, all replicas drop the same neurons,
    and W times the rows would bring less than W times the variety. Nothing raises.

    Args:
        seed: The run's seed.
        ranks: Who this process is.

    Note:
        Python's and numpy's random states are set, too: checkpoints hold all three, and
        two runs with one seed save the same bytes.

    Examples:
        >>> seed_dropout(0, ranks=Ranks(1, 1, 2, torch.device("cpu")))
    """
    rank_seed = seed * SEED_STRIDE + 1 + ranks.rank
    random.seed(rank_seed)
    np.random.seed(rank_seed % 2**32)  # numpy takes 32 bits
    torch.manual_seed(rank_seed)


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
        # WHY fused: one pass over all parameters instead of a dozen. minilm on one
        # core: 30 ms a step against 124 ms (torch 2.13, median of 10).
        fused=True,
    )


def build_scheduler(
    optimizer: Optimizer, *, settings: TrainSettings, plan: Plan
) -> LambdaLR:
    """Build a linear-warmup, linear-decay schedule of the learning rate.

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

    def learning_rate_factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (plan.num_steps - step) / max(1, plan.num_steps - warmup))

    return LambdaLR(optimizer, learning_rate_factor)
