"""Numbers of the pages on DDP, averaging, rings, accumulation and buffers."""

from __future__ import annotations

from collections.abc import Iterator

import headlines
import records
import torch
from number_tables import MODELS, gradient_bytes, mb, ring_ms, table, text
from torch import nn

from distrinews.bench import grad_sync
from distrinews.bench.costmodel import calibration, predictions, published, step_model
from distrinews.bench.costmodel.step_model import Link
from distrinews.bench.timing import draw_table
from distrinews.model import sizes
from distrinews.sync.overlap import BUCKET_BYTES, FIRST_BUCKET_BYTES

T4_ROWS, T4_TOKENS = 32, 53  # as the benchmark page on the T4
BY_MODEL = " | ".join(f"`{model}`" for model in MODELS)
VARIANTS = {
    "naive": "`average_gradients`: one all-reduce per tensor",
    "flat": "`average_gradients_flat`: one for all",
    "bucketed": "`average_gradients_in_buckets`: one per bucket, after backward",
    "hooks": "chapter 04's hook: one per tensor, during backward",
    "overlapped": "`Overlapped`: one per bucket, during backward",
    "torch_ddp": "torch's DDP",
    "torch_ddp_views": "torch's DDP, `gradient_as_bucket_view=True`",
}


def _buckets(model: str) -> list[int]:
    buckets = calibration.ddp_buckets(model, calibration.DEFAULT_BUCKET_MIB)
    return [num_bytes for _, num_bytes in buckets]


def _num_equal_buckets(model: str) -> int:
    """Without a small first one: what does not overlap needs no early start."""
    size = calibration.DEFAULT_BUCKET_MIB * calibration.MIB
    grads = sizes.gradient_bytes(model)
    return len(step_model.buckets_of(grads, first_bytes=size, bucket_bytes=size))


def _ms(*times_ms: float) -> str:
    """An interval; below 10 ms with a digit behind the point."""
    low, high = (f"{ms:,.{int(ms < 10)}f}" for ms in (min(times_ms), max(times_ms)))
    return f"{low} to {high} ms"


@table("preset | gradient tensors | buckets | bytes, in order | last")
def ddp_buckets() -> Iterator[list[str]]:
    """DDP's buckets with its default sizes, from the second step on."""
    for model in MODELS:
        buckets = _buckets(model)
        in_order = ", ".join(f"{num_bytes / 1e6:.1f}" for num_bytes in buckets)
        counts = [str(len(sizes.gradient_bytes(model))), str(len(buckets))]
        last = f"{buckets[-1] / gradient_bytes(model):.0%} of all"
        yield [f"`{model}`", *counts, f"{in_order} MB", last]


@table("preset | all buckets travel | exposed | whole step")
def ddp_on_two_t4() -> Iterator[list[str]]:
    """What is predicted for two T4: all that travels, and what is exposed."""
    for model in MODELS:
        prediction = predictions.two_t4(model, rows=T4_ROWS, tokens=T4_TOKENS)["two"]
        travel_ms = map(sum, zip(*map(ring_ms, _buckets(model)), strict=True))
        predicted = (_ms(*prediction[key]) for key in ("exposed_ms", "step_ms"))
        yield [f"`{model}`", _ms(*travel_ms), *predicted]


@table(
    f"way | {BY_MODEL}",
    below="`Overlapped`, like DDP, has one bucket more than "
    "`average_gradients_in_buckets`: its first bucket is closed at "
    f"{FIRST_BUCKET_BYTES // 2**20} MiB, so that it can leave early in backward. "
    "Where all buckets leave after backward, an early start gains nothing, and all "
    f"of them are closed at {BUCKET_BYTES // 2**20} MiB.",
)
def ladder_messages() -> Iterator[list[str]]:
    """All-reduces of a step of every variant in chapter 04."""
    for variant, count in {
        "naive": lambda model: len(sizes.gradient_bytes(model)),
        "flat": lambda _: 1,
        "bucketed": _num_equal_buckets,
        "overlapped": lambda model: len(_buckets(model)),
    }.items():
        yield [VARIANTS[variant], *(str(count(model)) for model in MODELS)]
    gradients = (mb(gradient_bytes(model), 1) for model in MODELS)
    yield ["bytes of gradients, each way", *gradients]


@text
def ladder_measured() -> str:
    """What chapter 04 measured, from its committed record."""
    record = records.record("sync_ladder")
    head = "way,step (slowest rank),ratio to DDP with bucket views,gradients differ by"
    lines = [head.split(",")]
    for variant, row in headlines.ladder().items():
        lines.append([
            VARIANTS[variant],
            f"{row['median_ms']:.0f} ms",
            grad_sync.ratio_to_ddp(variant, row),
            f"{row['max_abs_diff']:g}",
        ])
    env, settings = record["environment"], record["settings"]
    return (
        f"{draw_table(lines)}\n\nForward and backward, median of "
        f"{settings['num_rounds']} rounds in turn, {env['num_ranks']} ranks, preset "
        f"{settings['preset']}, on {record['date']}: {env['cpu']}, {env['num_cores']} "
        f"cores, torch {env['packages']['torch']} (sync_ladder.json). In brackets: the "
        "interval that holds the median of the rounds' ratios in 19 of 20 cases; if it "
        "holds 1, there is no difference. Other pages show other runs: compare times "
        "within this table only."
    )


@table("rows on rank 0, rank 1 | a row of rank 0 | a row of rank 1 | correction")
def uneven_weights() -> Iterator[list[str]]:
    """By what a rank multiplies its mean loss when ranks hold unequal counts."""
    for rows_by_rank in ((16, 16), (24, 8), (31, 1)):
        total, world_size = sum(rows_by_rank), len(rows_by_rank)
        # WHY: the plain mean gives each rank 1 / W, a row of it 1 / (W * its rows).
        weights = [total / (world_size * rows) for rows in rows_by_rank]
        factors = [world_size * rows / total for rows in rows_by_rank]
        yield [
            f"{rows_by_rank[0]}, {rows_by_rank[1]}",
            *(f"counts {weight:.2f} times" for weight in weights),
            "loss times " + ", ".join(f"{factor:g}" for factor in factors),
        ]


@table("preset | way | forward | backward | hidden")
def data_parallel_traffic() -> Iterator[list[str]]:
    """Weights and gradients between two GPUs in a step: DataParallel and DDP."""
    for model in MODELS:
        name, size = f"`{model}`", mb(gradient_bytes(model), 1)
        out, back = f"{size} of weights to GPU 1", f"{size} of gradients to GPU 0"
        yield [name, "DataParallel", out, back, "no"]
        yield [name, "DDP", "none", f"{size}, each way", "all but the last bucket"]


@table(
    "ranks | ring's messages | "
    + " | ".join(f"`{m}`, {way}" for way in ("ring", "middleman") for m in MODELS)
)
def ring_bytes() -> Iterator[list[str]]:
    """What one rank sends in a step: in a ring, and as everybody's middleman."""
    totals = [gradient_bytes(model) for model in MODELS]
    for world_size in (2, 4, 8, 64):
        part = 2 * (world_size - 1) / world_size
        # The middleman: to everybody else, all of it; it has received as much.
        sent = [mb(times * n, 1) for times in (part, world_size - 1) for n in totals]
        yield [str(world_size), str(2 * (world_size - 1)), *sent]


@table(f"where | {BY_MODEL}")
def ring_seconds() -> Iterator[list[str]]:
    """Predicted seconds of an all-reduce of all gradients round a ring."""
    for where, world_size, hardware in (
        ("two T4 over PCIe", 2, published.T4_PAIR),
        ("8 nodes of one T4, 32 Gbit/s", 8, published.T4_NODES),
        ("64 nodes of one T4, 32 Gbit/s", 64, published.T4_NODES),
    ):
        times_ms = (
            ring_ms(gradient_bytes(model), world_size=world_size, hardware=hardware)
            for model in MODELS
        )
        yield [where, *(_ms(*times) for times in times_ms)]


@table("ranks | bytes | ring | tree")
def ring_or_tree() -> Iterator[list[str]]:
    """Predicted seconds round a ring and over a tree: few and many ranks."""
    # WHY these two: the middle of what is published for one T4 a node; see there.
    link = Link(alpha_s=50e-6, bytes_per_s=3.85e9)
    for world_size in (4, 64, 1024):
        for size, num_bytes in (("0.1 MB", 1e5), ("25 MiB", 25 * 1024 * 1024)):
            times_s = [
                cost(num_bytes, world_size=world_size, link=link)
                for cost in (step_model.ring_s, step_model.tree_s)
            ]
            times = (f"{1000 * seconds:.1f} ms" for seconds in times_s)
            yield [f"{world_size:,}", size, *times]


@table(f"four micro-batches | {BY_MODEL}")
def accumulation_traffic() -> Iterator[list[str]]:
    """All-reduces and bytes of a step of four micro-batches, three ways."""
    for variant, num_syncs in {
        "`no_sync` around forward and backward, but for the last": 1,
        "`no_sync` around backward only: saves nothing": 4,
        "no `no_sync` at all": 4,
    }.items():
        yield [
            variant,
            *(
                f"{num_syncs * len(_buckets(model))} all-reduces, "
                f"{mb(num_syncs * gradient_bytes(model))}"
                for model in MODELS
            ),
        ]


@table("preset | BatchNorm | LayerNorm | buffers | broadcast per step")
def buffers_and_norms() -> Iterator[list[str]]:
    """Buffers and normalising layers of the course's models."""
    for model in MODELS:
        with torch.device("meta"):  # shapes only
            net: nn.Module = sizes.build(model)
        layers = list(net.modules())
        names = [name.rpartition(".")[2] for name, _ in net.named_buffers()]
        yield [
            f"`{model}`",
            str(sum(isinstance(m, nn.modules.batchnorm._NormBase) for m in layers)),
            str(sum(isinstance(m, nn.LayerNorm) for m in layers)),
            ", ".join(f"`{name}`" for name in names),
            f"{sum(buffer.nbytes for buffer in net.buffers()):,} bytes",
        ]
