"""Numbers of the pages on processes, data, batches, randomness, metrics, launchers."""

from __future__ import annotations

import statistics

import torch
from torch.utils.data import DistributedSampler

from distrinews import sharding, training
from distrinews.bench.costmodel import published, step_model
from distrinews.bench.costmodel.step_model import Link
from distrinews.bench.timing import draw_table
from distrinews.config.settings import TrainSettings
from distrinews.data.labels import LABEL_NAMES
from distrinews.dist import Ranks
from distrinews.metrics import ClassificationMetrics
from distrinews.metrics.evaluation import BATCH_SIZE
from distrinews.model import sizes

__all__ = [
    "batches_and_rates",
    "collective_costs",
    "evaluation_padding",
    "metric_bytes",
    "metrics_two_ways",
    "ranks_of_two_machines",
    "replica_memory",
    "same_global_batch",
    "seeds_of_ranks",
    "shard_sizes",
]

MODELS = ("minilm", "distilbert")
# AG News as its paper and its dataset card give it (Zhang et al. 2015).
TRAIN_ROWS, TEST_ROWS = 120_000, 7_600
CPU = torch.device("cpu")
Sampler = DistributedSampler[int]


def _rank(rank: int, world_size: int) -> Ranks:
    return Ranks(rank, local_rank=rank, world_size=world_size, device=CPU)


def _torch_sampler(num_rows: int, count: int, *, drop_last: bool = False) -> Sampler:
    return DistributedSampler(
        range(num_rows),  # type: ignore[arg-type]
        num_replicas=count,
        rank=0,
        drop_last=drop_last,
    )


def _megabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:,.0f} MB"


def replica_memory() -> str:
    """What each process holds of the model, and what more processes add up to.

    Returns:
        A Markdown table.
    """
    head = "preset,weights,gradients,AdamW,a process,2 processes,4 processes"
    lines = [head.split(",")]
    for name in MODELS:
        weights = sum(sizes.gradient_bytes(name))  # a gradient is as large
        parts = [weights, weights, 2 * weights]
        totals = [count * sum(parts) for count in (1, 2, 4)]
        lines.append([f"`{name}`", *map(_megabytes, parts + totals)])
    return draw_table(lines)


def _message_times(num_bytes: float) -> str:
    """What the cost model predicts for an all-reduce on two T4, as an interval."""
    figures = published.T4_PAIR
    times_s = []
    for alpha_s in (figures["message_s"].low, figures["message_s"].high):
        for speed in (figures["link_gb_per_s"].low, figures["link_gb_per_s"].high):
            link = Link(alpha_s, speed * 1e9)
            times_s.append(step_model.ring_s(num_bytes, world_size=2, link=link))
    return f"{1000 * min(times_s):.0f} to {1000 * max(times_s):.0f} ms"


def collective_costs() -> str:
    """What a rank sends in an all-reduce: a vote, a tally, a gradient.

    Returns:
        A Markdown table.
    """
    lines = [
        ["what", "bytes", "sent by each of 2", "by each of 8", "2 x T4, predicted"]
    ]
    rows = [("a vote", 8), ("a confusion matrix", 8 * len(LABEL_NAMES) ** 2)]
    for name in MODELS:
        rows.append((f"all gradients of `{name}`", sum(sizes.gradient_bytes(name))))
    for what, num_bytes in rows:
        sent = [2 * (count - 1) / count * num_bytes for count in (2, 8)]
        numbers = [num_bytes, *sent]
        cells = [_megabytes(n) if n > 1e6 else f"{n:.0f}" for n in numbers]
        # WHY not the small ones: they travel by gloo, on the CPU; see `dist.setup`.
        time = _message_times(num_bytes) if num_bytes > 1e6 else "not measured"
        lines.append([what, *cells, time])
    return draw_table(lines)


def shard_sizes() -> str:
    """Rows of AG News on each rank: torch's sampler, and global batches of 32.

    Returns:
        A Markdown table.
    """
    head = "ranks,rows a rank,repeated,left out with drop_last,our steps,left out"
    lines = [head.split(",")]
    for count in (1, 2, 4, 7, 8):
        padded = _torch_sampler(TRAIN_ROWS, count)
        dropped = _torch_sampler(TRAIN_ROWS, count, drop_last=True)
        # WHY another batch for 7: a global batch of 32 does not divide by it.
        size = 32 if 32 % count == 0 else 28
        sampler = sharding.ShuffledBatchSampler(
            TRAIN_ROWS, _rank(0, count), global_batch_size=size, seed=0
        )
        left_out = TRAIN_ROWS - sampler.steps_per_epoch * size
        lines.append([
            str(count),
            f"{len(padded):,}",
            str(padded.total_size - TRAIN_ROWS),
            str(TRAIN_ROWS - dropped.total_size),
            f"{sampler.steps_per_epoch:,} of {size}",
            str(left_out),
        ])
    return draw_table(lines)


def same_global_batch() -> str:
    """Ways to divide one global batch of 32 rows.

    Returns:
        A Markdown table.
    """
    lines = [["ranks", "pieces", "rows a rank and piece", "rows a step", "steps"]]
    for count, micro_batches in ((1, 1), (1, 4), (2, 1), (2, 2), (4, 1), (8, 2)):
        each = sharding.per_rank_batch_size(
            32, world_size=count, accumulation_steps=micro_batches
        )
        step = count * micro_batches * each
        plan = training.plan(TrainSettings(global_batch_size=step), num_rows=TRAIN_ROWS)
        numbers = (count, micro_batches, each, step, plan.steps_per_epoch)
        lines.append([f"{number:,}" for number in numbers])
    return draw_table(lines)


def batches_and_rates() -> str:
    """Peak learning rates of the rules, and the steps of an epoch.

    Returns:
        A Markdown table.
    """
    lines = [["rows a step", "steps an epoch"]]
    for name in MODELS:
        lines[0] += [f"`{name}`, linear", f"`{name}`, sqrt"]
    for size in (32, 64, 128, 256, 1024):
        plan = training.plan(TrainSettings(global_batch_size=size), num_rows=TRAIN_ROWS)
        row = [f"{size:,}", f"{plan.steps_per_epoch:,}"]
        for name in MODELS:
            for rule in ("linear", "sqrt"):
                settings = TrainSettings(
                    preset=name,  # type: ignore[arg-type]
                    global_batch_size=size,
                    learning_rate_rule=rule,  # type: ignore[arg-type]
                )
                row.append(f"{settings.peak_learning_rate:.2g}")
        lines.append(row)
    return draw_table(lines)


def seeds_of_ranks() -> str:
    """The seeds that a run with seed 0 uses, and what all states take on disk.

    Returns:
        A Markdown table and a line.
    """
    lines = [["what is drawn", "seed on rank 0", "on rank 1", "equal?", "why"]]
    reasons = {
        "weights that are new": "replicas start equal",
        "noise: dropout": "W ranks, W masks",
        "order of rows, epoch 0": "each row goes to one rank",
        "order of rows, epoch 1": "and another order comes each epoch",
    }
    with torch.random.fork_rng(devices=[]):
        training.seed_weights(0)
        weights = torch.initial_seed()
        dropout_seeds = []
        for rank in range(2):
            training.seed_dropout(0, ranks=_rank(rank, 2))
            dropout_seeds.append(torch.initial_seed())
    seeds = [[weights] * 2, dropout_seeds, [0, 0], [1, 1]]
    for (what, why), pair in zip(reasons.items(), seeds, strict=True):
        equal = "equal" if pair[0] == pair[1] else "different"
        lines.append([what, str(pair[0]), str(pair[1]), equal, why])
    rng_state = (
        f"{torch.get_rng_state().nbytes:,} bytes of CPU random state for each rank"
    )
    return f"{draw_table(lines)}\n\nA checkpoint holds {rng_state}."


# True class by row, said class by column: of two ranks, with 4 and with 2 rows.
RANK_0 = [[3, 0], [0, 1]]
RANK_1 = [[1, 0], [1, 0]]


def _metrics(confusion: list[list[int]]) -> ClassificationMetrics:
    metrics = ClassificationMetrics(LABEL_NAMES)
    metrics.confusion[:2, :2] = torch.tensor(confusion)
    return metrics


def metrics_two_ways() -> str:
    """Mean of the ranks' figures against the figures of the summed counts.

    Returns:
        A Markdown table.
    """
    by_rank = [_metrics(RANK_0), _metrics(RANK_1)]
    total = ClassificationMetrics(LABEL_NAMES)
    total.confusion = by_rank[0].confusion + by_rank[1].confusion
    lines = [["figure", "rank 0", "rank 1", "their mean", "from summed counts"]]

    def macro_f1(metrics: ClassificationMetrics) -> float:
        # Two of the four classes.
        return sum(list(metrics.f1_by_class.values())[:2]) / 2

    for name, figure in (
        ("accuracy", lambda metrics: metrics.accuracy),
        ("macro F1", macro_f1),
    ):
        each = [figure(metrics) for metrics in by_rank]
        numbers = [*each, statistics.mean(each), figure(total)]
        lines.append([name, *(f"{number:.3f}" for number in numbers)])
    return draw_table(lines)


def metric_bytes() -> str:
    """What travels for the figures of 7,600 test rows.

    Returns:
        A Markdown table.
    """
    counts = (
        8
        + ClassificationMetrics(LABEL_NAMES).confusion.nbytes
        + ClassificationMetrics(LABEL_NAMES).bins.nbytes
    )
    scores = 4 * TEST_ROWS * len(LABEL_NAMES)
    lines = [
        ["way", "bytes of the result", "grows with"],
        ["sum of counts: accuracy, F1, loss, calibration", f"{counts:,}", "classes"],
        ["gather of scores, float32: AUC", f"{scores:,}", "rows times classes"],
    ]
    return draw_table(lines)


def evaluation_padding() -> str:
    """How many rows a padded evaluation of 7,600 rows counts, and ours.

    Returns:
        A Markdown table.
    """
    head = "ranks,torch's sampler counts,twice,accuracy off by at most,ours counts"
    lines = [[*head.split(","), "batches a rank"]]
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
        lines.append([
            str(count),
            f"{sampler.total_size:,}",
            str(extra),
            # All of them right where the rest is wrong, or the other way round.
            f"{100 * extra / sampler.total_size:.3f} points",
            f"{num_rows:,}",
            str(few) if few == many else f"{few} or {many}",
        ])
    return draw_table(lines)


def ranks_of_two_machines() -> str:
    """What torchrun sets on two machines with two ranks each.

    Returns:
        A Markdown table.
    """
    head = "machine,GROUP_RANK,LOCAL_RANK,RANK,LOCAL_WORLD_SIZE,WORLD_SIZE,GPU"
    lines = [head.split(",")]
    each = 2
    for group_rank in range(2):
        for local_rank in range(each):
            rank = group_rank * each + local_rank
            numbers = (group_rank, local_rank, rank, each, 2 * each)
            name = ("first", "second")[group_rank]
            lines.append([name, *map(str, numbers), f"cuda:{local_rank}"])
    return draw_table(lines)
