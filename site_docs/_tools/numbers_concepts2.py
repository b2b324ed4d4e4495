"""Numbers of the pages on processes, data, batches, randomness, metrics, launchers."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import torch
from number_tables import (
    MODELS,
    TEST_ROWS,
    TRAIN_ROWS,
    between,
    gradient_bytes,
    mb,
    ring_ms,
    table,
)
from torch.utils.data import DistributedSampler

from distrinews import sharding, training
from distrinews.config.settings import TrainSettings
from distrinews.data.labels import LABEL_NAMES
from distrinews.dist import Ranks
from distrinews.metrics import ClassificationMetrics
from distrinews.training.evaluation import BATCH_SIZE

Sampler = DistributedSampler[int]
RULES = ("linear", "sqrt")


def _rank(rank: int, world_size: int) -> Ranks:
    device = torch.device("cpu")
    return Ranks(rank, local_rank=rank, world_size=world_size, device=device)


def _torch_sampler(num_rows: int, count: int, *, drop_last: bool = False) -> Sampler:
    return DistributedSampler(
        range(num_rows),  # type: ignore[arg-type]
        num_replicas=count,
        rank=0,
        drop_last=drop_last,
    )


def _plan(num_rows_a_step: int) -> training.Plan:
    settings = TrainSettings(global_batch_size=num_rows_a_step)
    return training.plan(settings, num_rows=TRAIN_ROWS)


@table("preset | parameters | gradients | weights, gradients and AdamW")
def model_sizes() -> Iterator[list[str]]:
    """Parameters, bytes of the gradients and of training's state, by preset."""
    for model in MODELS:
        size = gradient_bytes(model)
        # WHY four times: weight, gradient, and AdamW's two running means.
        yield [f"`{model}`", f"{size // 4:,}", mb(size, 1), mb(4 * size)]


@table("preset | weights | gradients | AdamW | a process | 2 processes | 4 processes")
def replica_memory() -> Iterator[list[str]]:
    """What each process holds of the model, and what more processes add up to."""
    for model in MODELS:
        # Weights, gradients as large, two averages; all of that in each process.
        parts = (gradient_bytes(model) * times for times in (1, 1, 2, 4, 8, 16))
        yield [f"`{model}`", *map(mb, parts)]


@table("what | bytes | sent by each of 2 | by each of 8 | 2 x T4, predicted")
def collective_costs() -> Iterator[list[str]]:
    """What a rank sends in an all-reduce: a vote, a tally, a gradient."""
    rows = [("a vote", 8), ("a confusion matrix", 8 * len(LABEL_NAMES) ** 2)]
    rows += [(f"all gradients of `{model}`", gradient_bytes(model)) for model in MODELS]
    for what, num_bytes in rows:
        numbers = [num_bytes, *(2 * (n - 1) / n * num_bytes for n in (2, 8))]
        cells = [mb(n) if n > 1e6 else f"{n:.0f}" for n in numbers]
        # WHY not the small ones: they travel by gloo, on the CPU; see `dist.setup`.
        large = num_bytes > 1e6
        time = between(ring_ms(num_bytes), ".0f", " ms") if large else "not measured"
        yield [what, *cells, time]


@table(
    "ranks | rows per rank | repeated | left out with drop_last | our steps | left out"
)
def shard_sizes() -> Iterator[list[str]]:
    """Rows of AG News on each rank: torch's sampler, and global batches of 32."""
    for count in (1, 2, 4, 7, 8):
        padded = _torch_sampler(TRAIN_ROWS, count)
        dropped = _torch_sampler(TRAIN_ROWS, count, drop_last=True)
        # WHY another batch for 7: a global batch of 32 does not divide by it.
        size = 32 if 32 % count == 0 else 28
        sampler = sharding.ShuffledBatchSampler(
            TRAIN_ROWS, _rank(0, count), global_batch_size=size, seed=0
        )
        yield [
            str(count),
            f"{len(padded):,}",
            str(padded.total_size - TRAIN_ROWS),
            str(TRAIN_ROWS - dropped.total_size),
            f"{sampler.steps_per_epoch:,} of {size}",
            str(TRAIN_ROWS - sampler.steps_per_epoch * size),
        ]


@table("ranks | pieces | rows a rank and piece | rows a step | steps")
def same_global_batch() -> Iterator[list[str]]:
    """Ways to divide one global batch of 32 rows."""
    for count, micro_batches in ((1, 1), (1, 4), (2, 1), (2, 2), (4, 1), (8, 2)):
        each = sharding.per_rank_batch_size(
            32, world_size=count, accumulation_steps=micro_batches
        )
        step = count * micro_batches * each
        numbers = (count, micro_batches, each, step, _plan(step).steps_per_epoch)
        yield [f"{number:,}" for number in numbers]


@table(
    "rows a step | steps an epoch | "
    + " | ".join(f"`{model}`, {rule}" for model in MODELS for rule in RULES)
)
def batches_and_rates() -> Iterator[list[str]]:
    """Peak learning rates of the rules, and the steps of an epoch."""
    for size in (32, 64, 128, 256, 1024):
        rates = (
            TrainSettings(
                preset=model,  # type: ignore[arg-type]
                global_batch_size=size,
                learning_rate_rule=rule,  # type: ignore[arg-type]
            ).peak_learning_rate
            for model in MODELS
            for rule in RULES
        )
        steps = f"{_plan(size).steps_per_epoch:,}"
        yield [f"{size:,}", steps, *(f"{rate:.2g}" for rate in rates)]


@table(
    "what is drawn | seed on rank 0 | on rank 1 | equal? | why",
    below=f"A checkpoint holds {torch.get_rng_state().nbytes:,} bytes of CPU random "
    "state for each rank.",
)
def seeds_of_ranks() -> Iterator[list[str]]:
    """The seeds that a run with seed 0 uses, and what all states take on disk."""
    with torch.random.fork_rng(devices=[]):
        training.seed_weights(0)
        weights = torch.initial_seed()
        dropout_seeds = []
        for rank in range(2):
            training.seed_dropout(0, ranks=_rank(rank, 2))
            dropout_seeds.append(torch.initial_seed())
    for what, (first, second), why in (
        ("weights that are new", (weights, weights), "replicas start equal"),
        ("noise: dropout", dropout_seeds, "W ranks, W masks"),
        ("order of rows, epoch 0", (0, 0), "each row goes to one rank"),
        ("order of rows, epoch 1", (1, 1), "and another order comes each epoch"),
    ):
        equal = "equal" if first == second else "different"
        yield [what, str(first), str(second), equal, why]


# True class by row, said class by column: of two ranks, with 4 and with 2 rows.
RANK_0 = [[3, 0], [0, 1]]
RANK_1 = [[1, 0], [1, 0]]


def _metrics(confusion: list[list[int]]) -> ClassificationMetrics:
    metrics = ClassificationMetrics(LABEL_NAMES)
    metrics.confusion[:2, :2] = torch.tensor(confusion)
    return metrics


@table("figure | rank 0 | rank 1 | their mean | from summed counts")
def metrics_two_ways() -> Iterator[list[str]]:
    """Mean of the ranks' figures against the figures of the summed counts."""
    by_rank = [_metrics(RANK_0), _metrics(RANK_1)]
    total = ClassificationMetrics(LABEL_NAMES)
    for metrics in by_rank:
        total.confusion.add_(metrics.confusion)

    for name, figure in (
        ("accuracy", lambda metrics: metrics.accuracy),
        ("macro F1", lambda metrics: metrics.macro_f1),
    ):
        each = [figure(metrics) for metrics in by_rank]
        numbers = [*each, statistics.mean(each), figure(total)]
        yield [name, *(f"{number:.3f}" for number in numbers)]


@table("way | bytes of the result | grows with")
def metric_bytes() -> Iterator[list[str]]:
    """What travels for the figures of 7,600 test rows."""
    metrics = ClassificationMetrics(LABEL_NAMES)
    counts = 8 + metrics.confusion.nbytes + metrics.bins.nbytes
    scores = 4 * TEST_ROWS * len(LABEL_NAMES)
    yield ["sum of counts: accuracy, F1, loss, calibration", f"{counts:,}", "classes"]
    yield ["gather of scores, float32: AUC", f"{scores:,}", "rows times classes"]


@table(
    "ranks | torch's sampler counts | twice | accuracy off by at most | ours counts | "
    "batches a rank"
)
def evaluation_padding() -> Iterator[list[str]]:
    """How many rows a padded evaluation of 7,600 rows counts, and ours."""
    for count in (1, 2, 3, 5, 7, 16, 64):
        sampler = _torch_sampler(TEST_ROWS, count)
        extra = sampler.total_size - TEST_ROWS
        plans = [
            sharding.evaluation_batches(
                [1] * TEST_ROWS, _rank(rank, count), batch_size=BATCH_SIZE
            )
            for rank in range(count)
        ]
        num_rows = sum(len(batch) for plan in plans for batch in plan)
        few, many = min(map(len, plans)), max(map(len, plans))
        yield [
            str(count),
            f"{sampler.total_size:,}",
            str(extra),
            # All of them right where the rest is wrong, or the other way round.
            f"{100 * extra / sampler.total_size:.3f} points",
            f"{num_rows:,}",
            str(few) if few == many else f"{few} or {many}",
        ]


@table("machine | GROUP_RANK | LOCAL_RANK | RANK | LOCAL_WORLD_SIZE | WORLD_SIZE | GPU")
def ranks_of_two_machines() -> Iterator[list[object]]:
    """What torchrun sets on two machines with two ranks each."""
    each = 2
    for group_rank, name in enumerate(("first", "second")):
        for local_rank in range(each):
            rank = group_rank * each + local_rank
            numbers = (group_rank, local_rank, rank, each, 2 * each)
            yield [name, *numbers, f"cuda:{local_rank}"]
