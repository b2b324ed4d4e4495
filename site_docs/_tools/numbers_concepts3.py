"""Numbers of the pages on failures, backends, speed, memory and serving.

Sizes are computed from the models' own shapes. Seconds come from committed records or
from the cost model; the headings of the tables say which.
"""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

import numpy as np
import torch
from torch.distributed.constants import default_pg_timeout

from distrinews.bench import averaging
from distrinews.bench.costmodel import many_ranks, predictions, published, step_model
from distrinews.bench.costmodel.step_model import Compute, Link
from distrinews.bench.timing import draw_table
from distrinews.config.settings import DistributedSettings
from distrinews.dist import Ranks, process_group
from distrinews.model import sizes
from distrinews.sharding import (
    LengthBalancedBatchSampler,
    ShuffledBatchSampler,
    padding_share,
)

__all__ = [
    "amdahl",
    "break_even",
    "checkpoint_bytes",
    "compute_and_send",
    "dense_or_touched",
    "lost_work",
    "memory_by_stage",
    "patience",
    "same_bytes_other_link",
    "small_batches",
    "stage_traffic",
    "strong_scaling",
    "train_and_serve",
    "waiting_by_ranks",
]

RESULTS = pathlib.Path(__file__).resolve().parents[1] / "benchmarks" / "results"
MODELS = ("minilm", "distilbert")
BYTES = 4  # of a float32


@functools.cache
def _record(name: str) -> dict[str, Any]:
    """The figures of a committed measurement."""
    text = (RESULTS / f"{name}.json").read_text(encoding="utf-8")
    return dict(json.loads(text)["figures"])


def _parameters(model: str) -> int:
    return sum(sizes.gradient_bytes(model)) // BYTES


def _mb(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:,.0f} MB"


def checkpoint_bytes() -> str:
    """Size one checkpoint file by file.

    Returns:
        A Markdown table.
    """
    rng_bytes = torch.get_rng_state().nbytes
    lines = [["preset", "weights", "AdamW's two averages", "random states", "together"]]
    for model in MODELS:
        weights = _parameters(model) * BYTES
        lines.append([
            f"`{model}`",
            _mb(weights),
            _mb(2 * weights),
            f"{rng_bytes:,} bytes a rank",
            _mb(3 * weights),
        ])
    return draw_table(lines)


def lost_work() -> str:
    """Say what a failure costs, by how often is saved.

    Returns:
        A Markdown table; the seconds are steps of a measured length.
    """
    step_s = _record("scaling")["strong"]["median_ms"] / 1000
    rows = DistributedSettings().global_batch_size
    saved = 3 * _parameters("minilm") * BYTES
    lines = [
        ["saved every", "steps lost at most", "rows trained again", "time", "written"]
    ]
    for steps in (10, 80, 500):
        lost = steps - 1
        lines.append([
            f"{steps} steps",
            str(lost),
            f"{lost * rows:,}",
            f"{lost * step_s:,.0f} s",
            f"{_mb(saved / steps)} a step",
        ])
    return draw_table(lines)


def patience() -> str:
    """Say how long the others wait for a rank that does not come.

    Returns:
        A Markdown table.
    """
    lines = [["who waits", "until it gives up"]]
    for who, seconds in (
        ("`dist.setup`, this course's default", process_group.TIMEOUT_S),
        ("gloo, torch's default", default_pg_timeout.total_seconds()),
    ):
        lines.append([who, f"{seconds / 60:.0f} minutes"])
    return draw_table(lines)


def same_bytes_other_link() -> str:
    """Predict one all-reduce of each model's gradients over gloo and over nccl.

    Returns:
        A Markdown table of the cost model's predictions.
    """
    [gloo] = [
        Link(link["alpha_s"], link["bytes_per_s"])
        for link in _record("calibration")["fitted"]["links"]
        if link["world_size"] == 2
    ]
    pair = published.T4_PAIR
    slow = Link(pair["message_s"].high, pair["link_gb_per_s"].low * 1e9)
    fast = Link(pair["message_s"].low, pair["link_gb_per_s"].high * 1e9)
    lines = [["gradients of", "bytes", "gloo, two ranks here", "nccl, two T4"]]
    for model in MODELS:
        num_bytes = sum(sizes.gradient_bytes(model))
        gloo_s, slow_s, fast_s = (
            step_model.ring_s(num_bytes, world_size=2, link=link)
            for link in (gloo, slow, fast)
        )
        lines.append([
            f"`{model}`",
            _mb(num_bytes),
            f"{gloo_s * 1000:.0f} ms",
            f"{fast_s * 1000:.0f} to {slow_s * 1000:.0f} ms",
        ])
    return draw_table(lines)


def amdahl() -> str:
    """Show what a part that does not divide does to the speed-up.

    Returns:
        A Markdown table: the optimizer's share as it was measured, and round ones.
    """
    one_process = _record("scaling")["one_process"]
    measured = one_process["phases_ms"]["optimizer"] / one_process["median_ms"]
    ranks = (2, 4, 8, 64)
    lines = [["serial part", *(f"{w} ranks" for w in ranks), "never above"]]
    for name, part in (
        ("1%", 0.01),
        (f"{measured:.1%}, our optimizer step", measured),
        ("25%", 0.25),
    ):
        speedups = [f"{1 / (part + (1 - part) / w):.2f}x" for w in ranks]
        lines.append([name, *speedups, f"{1 / part:.0f}x"])
    return draw_table(lines)


def dense_or_touched() -> str:
    """Show what backward takes, and which ways pay for a dense embedding gradient.

    Returns:
        A Markdown table, from the record of `benchmark averaging`.
    """
    record = _record("averaging")
    whole = _mb(sizes.gradient_bytes("minilm")[0])
    lines = [["way", "backward", "gradient of the embedding"]]
    for name, gradient in (
        ("torch_ddp", f"dense: {whole} written, all sent"),
        ("touched_rows", "touched rows written, touched rows sent"),
        ("unsynced", f"dense: {whole} written, nothing sent"),
        ("unsynced_touched_rows", "touched rows written, nothing sent"),
    ):
        backward_ms = record[name]["phases_ms"]["backward"]
        lines.append([averaging.TITLES[name], f"{backward_ms:.0f} ms", gradient])
    return draw_table(lines)


def _divided(num_ranks: int) -> dict[str, float]:
    """One process's measured phases, if each rank had its own such machine."""
    phases = dict(_record("scaling")["one_process"]["phases_ms"])
    for name in ("forward", "backward"):
        phases[name] /= num_ranks
    return phases


def strong_scaling() -> str:
    """Predict minilm's step on more machines like ours, over three networks.

    Returns:
        A Markdown table of the cost model's predictions.
    """
    alone_ms = _record("scaling")["one_process"]["median_ms"]
    networks = (1.0, 10.0, 25.0)
    lines = [["ranks", *(f"{gbit:.0f} Gbit/s" for gbit in networks), "nothing to send"]]
    for ranks in (2, 4, 8):
        cells = []
        for gbit in (*networks, 1e6):
            prediction = predictions.at_bandwidth(
                _divided(ranks),
                gradient_bytes=sizes.gradient_bytes("minilm"),
                world_size=ranks,
                gbit_per_s=gbit,
                alone_ms=alone_ms,
            )
            cells.append(f"{prediction.step_ms:.0f} ms, {prediction.speedup:.2f}x")
        lines.append([str(ranks), *cells])
    return draw_table(lines)


def compute_and_send() -> str:
    """Put what a step computes beside what it sends.

    Returns:
        A Markdown table.
    """
    tokens = 16 * 53
    lines = [
        ["model", "arithmetic of 16 rows", "gradients", "operations per byte sent"]
    ]
    for model in MODELS:
        flops = sizes.SIZES[model].step_flops(53) * tokens
        num_bytes = sum(sizes.gradient_bytes(model))
        lines.append([
            f"`{model}`",
            f"{flops / 1e9:,.0f} GFLOP",
            _mb(num_bytes),
            f"{flops / num_bytes:,.0f}",
        ])
    return draw_table(lines)


def small_batches() -> str:
    """Predict which part of a step is meeting, by rows a rank, on our two cores.

    Returns:
        A Markdown table of the cost model's predictions, from the committed fit.
    """
    fitted = _record("calibration")["fitted"]
    [compute] = [
        fit
        for fit in fitted["computes"]
        if (fit["model"], fit["world_size"]) == ("minilm", 2)
    ]
    [link] = [fit for fit in fitted["links"] if fit["world_size"] == 2]
    compute = {k: v for k, v in compute.items() if k not in ("model", "world_size")}
    link = {k: v for k, v in link.items() if k != "world_size"}
    grads = sizes.gradient_bytes("minilm")
    buckets = step_model.buckets_of(grads, work=[0, *grads[1:]])
    lines = [["rows a rank", "step", "meeting, and waiting for gradients", "optimizer"]]
    for rows in (1, 4, 16, 64):
        prediction = step_model.predict(
            Compute(**compute),
            Link(**link),
            buckets=buckets,
            world_size=2,
            rows=rows,
            tokens=53,
        )
        sync_s = prediction.exposed_s + prediction.contention_s + prediction.meeting_s
        lines.append([
            str(rows),
            f"{prediction.step_s * 1000:.0f} ms",
            f"{sync_s * 1000:.0f} ms ({sync_s / prediction.step_s:.0%})",
            f"{prediction.optimizer_s / prediction.step_s:.0%}",
        ])
    return draw_table(lines)


def break_even() -> str:
    """Find the bandwidth from which two machines beat one.

    Returns:
        A Markdown table of the cost model's predictions.
    """
    alone_ms = _record("scaling")["one_process"]["median_ms"]
    lines = [["two machines like ours reach", "need at least"]]
    for goal in (1.0, 1.5, 1.7):
        low, high = 0.01, 1000.0
        for _ in range(40):  # bisection: more bandwidth never slows a step
            middle = (low * high) ** 0.5
            prediction = predictions.at_bandwidth(
                _divided(2),
                gradient_bytes=sizes.gradient_bytes("minilm"),
                world_size=2,
                gbit_per_s=middle,
                alone_ms=alone_ms,
            )
            low, high = (low, middle) if prediction.speedup >= goal else (middle, high)
        lines.append([f"{goal:.1f}x of one", f"{high:.1f} Gbit/s"])
    return draw_table(lines)


@functools.cache
def _lengths(num_rows: int) -> np.ndarray:
    """Lengths as they are spread in AG News: drawn from its measured quantiles."""
    rng = np.random.default_rng(0)
    # WHY not straight lines between the quantiles: within the longest hundredth they
    # would make rows of 150 tokens as frequent as rows of 122, and pad too much.
    rarity = [-np.log(max(1 - part, 1e-4)) for part in many_ranks.LENGTHS]
    values = list(many_ranks.LENGTHS.values())
    drawn = np.interp(-np.log(1 - rng.random(num_rows)), rarity, values).astype(int)
    return np.minimum(drawn, 128)


def waiting_by_ranks() -> str:
    """Count padding and waiting of shuffled and of length-balanced batches.

    Returns:
        A Markdown table, counted from the samplers' own plans.
    """
    lengths = _lengths(16 * 8 * 60)
    head = ["ranks", "shuffled: padding", "with waiting", "work for a real token"]
    lines = [[*head, "by length: padding", "with waiting", "work for a real token"]]
    for world_size in (1, 2, 4, 8):
        alone = Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
        size = 16 * world_size
        row = [str(world_size)]
        for sampler in (
            ShuffledBatchSampler(len(lengths), alone, global_batch_size=size, seed=0),
            LengthBalancedBatchSampler(lengths, alone, global_batch_size=size, seed=0),
        ):
            steps = [batch.tolist() for batch in sampler.plan()]
            shards = [
                step[rank::world_size] for step in steps for rank in range(world_size)
            ]
            # WHY the whole step: every rank takes as long as the widest batch.
            step_padding = padding_share(lengths, steps)
            padding = padding_share(lengths, shards)
            row += [
                f"{padding:.0%}",
                f"{step_padding:.0%}",
                f"{1 / (1 - step_padding):.2f}",
            ]
        lines.append(row)
    return draw_table(lines)


def memory_by_stage() -> str:
    """Count a rank's bytes for the model's state, by what is sharded.

    Returns:
        A Markdown table; activations come on top.
    """
    ranks = 8
    # Weights, gradients, AdamW's two averages: each 4 bytes, divided or not.
    stages = {
        "DDP": (4.0, 4.0, 8.0),
        "ZeRO-1: optimizer sharded": (4.0, 4.0, 8 / ranks),
        "ZeRO-2: gradients, too": (4.0, 4 / ranks, 8 / ranks),
        "ZeRO-3, FSDP: weights, too": (4 / ranks, 4 / ranks, 8 / ranks),
    }
    head = ["what", f"bytes a parameter, {ranks} ranks", "minilm", "distilbert"]
    lines = [[*head, "7 billion parameters"]]
    for name, parts in stages.items():
        bytes_per_parameter = sum(parts)
        cells = [f"{bytes_per_parameter:g}"]
        cells += [_mb(bytes_per_parameter * _parameters(model)) for model in MODELS]
        lines.append([name, *cells, f"{bytes_per_parameter * 7:.0f} GB"])
    return draw_table(lines)


def stage_traffic() -> str:
    """Count what a rank sends in a step, by what is sharded.

    Returns:
        A Markdown table.
    """
    ranks = 8
    unit = (ranks - 1) / ranks  # of the parameters' bytes: one half of an all-reduce
    rows = (
        ("DDP", "all-reduce of gradients", 2),
        ("ZeRO-1, ZeRO-2", "reduce-scatter of gradients, all-gather of weights", 2),
        (
            "ZeRO-3, FSDP",
            "all-gather of weights in forward, again in backward, reduce-scatter of "
            "gradients",
            3,
        ),
    )
    lines = [["what", "collectives of a step", "units", "minilm", "distilbert"]]
    for name, what, units in rows:
        sent = [
            _mb(units * unit * sum(sizes.gradient_bytes(model))) for model in MODELS
        ]
        lines.append([name, what, str(units), *sent])
    return draw_table(lines)


def train_and_serve() -> str:
    """Put a rank's state in training beside what serving holds.

    Returns:
        A Markdown table.
    """
    lines = [["what is in memory", "bytes a parameter", "minilm", "distilbert"]]
    for name, bytes_per_parameter in (
        ("training, each rank: weights, gradients, AdamW", 16),
        ("answering in float32: weights", 4),
    ):
        sizes_mb = [_mb(bytes_per_parameter * _parameters(model)) for model in MODELS]
        lines.append([name, str(bytes_per_parameter), *sizes_mb])
    return draw_table(lines)
