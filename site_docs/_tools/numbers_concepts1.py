"""Numbers of the pages on DDP, averaging, rings, accumulation and buffers."""

from __future__ import annotations

import json
import pathlib

import headlines
import torch
from torch import nn

from distrinews.bench import grad_sync
from distrinews.bench.costmodel import calibration, predictions, published, step_model
from distrinews.bench.costmodel.step_model import Link
from distrinews.bench.timing import draw_table
from distrinews.model import sizes
from distrinews.sync.overlap import BUCKET_BYTES, FIRST_BUCKET_BYTES

__all__ = [
    "accumulation_traffic",
    "buffers_and_norms",
    "data_parallel_traffic",
    "ddp_buckets",
    "ddp_on_two_t4",
    "ladder_measured",
    "ladder_messages",
    "ring_bytes",
    "ring_or_tree",
    "ring_seconds",
    "uneven_weights",
]

PRESETS = ("minilm", "distilbert")
MB = 1e6
RESULTS = pathlib.Path(__file__).resolve().parents[1] / "benchmarks" / "results"
T4_ROWS, T4_TOKENS = 32, 53  # as the benchmark page on the T4
VARIANTS = {
    "naive": "`average_gradients`: one all-reduce per tensor",
    "flat": "`average_gradients_flat`: one for all",
    "bucketed": "`average_gradients_in_buckets`: one per bucket, after backward",
    "overlapped": "`Overlapped`: one per bucket, during backward",
    "torch_ddp": "torch's DDP",
    "torch_ddp_views": "torch's DDP, `gradient_as_bucket_view=True`",
}


def _total(preset: str) -> int:
    return sum(sizes.gradient_bytes(preset))


def _buckets(preset: str) -> list[int]:
    buckets = calibration.ddp_buckets(preset, calibration.DEFAULT_BUCKET_MIB)
    return [num_bytes for _, num_bytes in buckets]


def _equal_buckets(preset: str) -> list[tuple[float, int]]:
    """Without a small first one: what does not overlap needs no early start."""
    size = calibration.DEFAULT_BUCKET_MIB * calibration.MIB
    grads = sizes.gradient_bytes(preset)
    return step_model.buckets_of(grads, first_bytes=size, bucket_bytes=size)


def _ms(low_ms: float, high_ms: float) -> str:
    """An interval; below 10 ms with a digit behind the point."""
    low, high = (f"{s:,.{int(s < 10)}f}" for s in (low_ms, high_ms))
    return f"{low} to {high} ms"


def ddp_buckets() -> str:
    """DDP's buckets with its default sizes, from the second step on.

    Returns:
        A Markdown table.
    """
    lines = [["preset", "gradient tensors", "buckets", "bytes, in order", "last"]]
    for preset in PRESETS:
        buckets = _buckets(preset)
        in_order = ", ".join(f"{num_bytes / MB:.1f}" for num_bytes in buckets)
        counts = [str(len(sizes.gradient_bytes(preset))), str(len(buckets))]
        last = f"{buckets[-1] / _total(preset):.0%} of all"
        lines.append([f"`{preset}`", *counts, f"{in_order} MB", last])
    return draw_table(lines)


def ddp_on_two_t4() -> str:
    """What the cost model predicts for two T4: all that travels, and what is exposed.

    Returns:
        A Markdown table.
    """
    lines = [["preset", "all buckets travel", "exposed", "whole step"]]
    published_figures = published.T4_PAIR
    for preset in PRESETS:
        prediction = predictions.two_t4(preset, rows=T4_ROWS, tokens=T4_TOKENS)["two"]
        travel_s = [
            sum(_ring_s(num_bytes, 2, figures) for num_bytes in _buckets(preset))
            for figures in predictions.low_high_combinations(published_figures)
        ]
        row = [_ms(1000 * min(travel_s), 1000 * max(travel_s))]
        row += [_ms(*prediction[key]) for key in ("exposed_ms", "step_ms")]
        lines.append([f"`{preset}`", *row])
    return draw_table(lines)


def _ring_s(num_bytes: float, world_size: int, figures: dict[str, float]) -> float:
    link = Link(figures["message_s"], figures["link_gb_per_s"] * 1e9)
    return step_model.ring_s(num_bytes, world_size=world_size, link=link)


def ladder_messages() -> str:
    """All-reduces of a step of every variant in chapter 04.

    Returns:
        A Markdown table, and why the last two rows of counts differ.
    """
    lines = [["way", *(f"`{preset}`" for preset in PRESETS)]]
    for variant in list(VARIANTS)[:4]:
        counts = {
            "naive": [len(sizes.gradient_bytes(preset)) for preset in PRESETS],
            "flat": [1 for _ in PRESETS],
            "bucketed": [len(_equal_buckets(preset)) for preset in PRESETS],
        }.get(variant, [len(_buckets(preset)) for preset in PRESETS])
        lines.append([VARIANTS[variant], *(str(count) for count in counts)])
    gradient_bytes = (f"{_total(preset) / MB:.1f} MB" for preset in PRESETS)
    lines.append(["bytes of gradients, each way", *gradient_bytes])
    return (
        f"{draw_table(lines)}\n\n`Overlapped`, like DDP, has one bucket more than "
        "`average_gradients_in_buckets`: its first bucket is closed at "
        f"{FIRST_BUCKET_BYTES // 2**20} MiB, so that it can leave early in backward. "
        "Where all buckets leave after backward, an early start gains nothing, and all "
        f"of them are closed at {BUCKET_BYTES // 2**20} MiB."
    )


def ladder_measured() -> str:
    """What chapter 04 measured, from its committed record.

    Returns:
        A Markdown table and where it was measured.
    """
    record = json.loads((RESULTS / "sync_ladder.json").read_text(encoding="utf-8"))
    head = "way,step (slowest rank),by DDP with bucket views,gradients differ by"
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
        f"cores, torch {env['packages']['torch']} (sync_ladder.json). In brackets the "
        "interval that holds the median of the rounds' ratios in 19 of 20 cases; one "
        "that holds 1 is no difference. Other pages show other runs: compare times "
        "within this table only."
    )


def uneven_weights() -> str:
    """By what a rank multiplies its mean loss when ranks hold unequal counts.

    Returns:
        A Markdown table.
    """
    lines = [["rows on rank 0, rank 1", "a row of rank 0", "a row of rank 1", "cure"]]
    for rows_by_rank in ((16, 16), (24, 8), (31, 1)):
        total, world_size = sum(rows_by_rank), len(rows_by_rank)
        # WHY: the plain mean gives each rank 1 / W, a row of it 1 / (W * its rows).
        weights = [total / (world_size * rows) for rows in rows_by_rank]
        factors = [world_size * rows / total for rows in rows_by_rank]
        lines.append([
            f"{rows_by_rank[0]}, {rows_by_rank[1]}",
            *(f"counts {weight:.2f} times" for weight in weights),
            "loss times " + ", ".join(f"{factor:g}" for factor in factors),
        ])
    return draw_table(lines)


def data_parallel_traffic() -> str:
    """Weights and gradients between two GPUs in a step: DataParallel and DDP.

    Returns:
        A Markdown table.
    """
    lines = [["preset", "way", "forward", "backward", "hidden"]]
    for preset in PRESETS:
        size = f"{_total(preset) / MB:.1f} MB"
        into = f"{size} of gradients to GPU 0"
        lines += [
            [f"`{preset}`", "DataParallel", f"{size} of weights to GPU 1", into, "no"],
            [
                f"`{preset}`",
                "DDP",
                "none",
                f"{size}, each way",
                "all but the last bucket",
            ],
        ]
    return draw_table(lines)


def ring_bytes() -> str:
    """What one rank sends in a step: in a ring, and as everybody's middleman.

    Returns:
        A Markdown table.
    """
    head = [f"`{p}`, {variant}" for variant in ("ring", "middleman") for p in PRESETS]
    lines = [["ranks", "ring's messages", *head]]
    for world_size in (2, 4, 8, 64):
        part = 2 * (world_size - 1) / world_size
        ring = [f"{part * _total(p) / MB:.1f} MB" for p in PRESETS]
        # To everybody else, all of it; it has received as much.
        middle = [f"{(world_size - 1) * _total(p) / MB:,.1f} MB" for p in PRESETS]
        lines.append([str(world_size), str(2 * (world_size - 1)), *ring, *middle])
    return draw_table(lines)


def ring_seconds() -> str:
    """Predicted seconds of an all-reduce of all gradients round a ring.

    Returns:
        A Markdown table.
    """
    links = {
        "two T4 over PCIe": (2, published.T4_PAIR),
        "8 nodes of one T4, 32 Gbit/s": (8, published.T4_NODES),
        "64 nodes of one T4, 32 Gbit/s": (64, published.T4_NODES),
    }
    lines = [["where", *(f"`{preset}`" for preset in PRESETS)]]
    for title, (world_size, published_figures) in links.items():
        row = []
        for preset in PRESETS:
            times_s = [
                _ring_s(
                    _total(preset), world_size, {"message_s": a, "link_gb_per_s": b}
                )
                for a in (
                    published_figures["message_s"].low,
                    published_figures["message_s"].high,
                )
                for b in (
                    published_figures["link_gb_per_s"].low,
                    published_figures["link_gb_per_s"].high,
                )
            ]
            row.append(_ms(1000 * min(times_s), 1000 * max(times_s)))
        lines.append([title, *row])
    return draw_table(lines)


def ring_or_tree() -> str:
    """Predicted seconds round a ring and over a tree: few and many ranks.

    Returns:
        A Markdown table.
    """
    # WHY these two: the middle of what is published for one T4 a node; see there.
    link = Link(alpha_s=50e-6, bytes_per_s=3.85e9)
    lines = [["ranks", "bytes", "ring", "tree"]]
    for world_size in (4, 64, 1024):
        for size, num_bytes in (("0.1 MB", 1e5), ("25 MiB", 25 * 1024 * 1024)):
            times_s = [
                cost(num_bytes, world_size=world_size, link=link)
                for cost in (step_model.ring_s, step_model.tree_s)
            ]
            cells = [f"{1000 * seconds:.1f} ms" for seconds in times_s]
            lines.append([f"{world_size:,}", size, *cells])
    return draw_table(lines)


def accumulation_traffic() -> str:
    """All-reduces and bytes of a step of four micro-batches, three ways.

    Returns:
        A Markdown table.
    """
    variants = {
        "`no_sync` around forward and backward, but for the last": 1,
        "`no_sync` around backward only: saves nothing": 4,
        "no `no_sync` at all": 4,
    }
    lines = [["four micro-batches", *(f"`{preset}`" for preset in PRESETS)]]
    for variant, num_syncs in variants.items():
        row = [
            f"{num_syncs * len(_buckets(preset))} all-reduces, "
            f"{num_syncs * _total(preset) / MB:,.0f} MB"
            for preset in PRESETS
        ]
        lines.append([variant, *row])
    return draw_table(lines)


def buffers_and_norms() -> str:
    """Buffers and normalising layers of the course's models.

    Returns:
        A Markdown table.
    """
    lines = [["preset", "BatchNorm", "LayerNorm", "buffers", "broadcast in a step"]]
    for preset in PRESETS:
        with torch.device("meta"):  # shapes only
            net: nn.Module = sizes.build(preset)
        layers = list(net.modules())
        batch = sum(isinstance(m, nn.modules.batchnorm._NormBase) for m in layers)
        layer = sum(isinstance(m, nn.LayerNorm) for m in layers)
        names = [name.rpartition(".")[2] for name, _ in net.named_buffers()]
        lines.append([
            f"`{preset}`",
            str(batch),
            str(layer),
            ", ".join(f"`{name}`" for name in names),
            f"{sum(buffer.nbytes for buffer in net.buffers()):,} bytes",
        ])
    return draw_table(lines)
