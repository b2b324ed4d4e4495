"""Numbers of the pages on failures, backends, speed, memory and serving.

Sizes are computed from the models' own shapes. Seconds come from committed records or
from the cost model; the headings of the tables say which.
"""

from __future__ import annotations

from collections.abc import Iterator

import length_batches
import stage_memory
import torch
from number_tables import MODELS, between, gradient_bytes, mb, ring_ms, table
from records import figures
from torch.distributed.constants import default_pg_timeout

from distrinews.bench import averaging
from distrinews.bench.costmodel import (
    calibration,
    predictions,
    published,
    step_model,
)
from distrinews.bench.costmodel.step_model import Compute, Link
from distrinews.checkpoint import encoding
from distrinews.checkpoint.state import random_states
from distrinews.config.settings import DistributedSettings
from distrinews.dist import Ranks, process_group
from distrinews.model import sizes
from distrinews.sharding import (
    LengthBalancedBatchSampler,
    ShuffledBatchSampler,
    padding_share,
)

NUM_SHARDS = 8  # ranks over which ZeRO divides
NETWORKS_GBIT = (1.0, 10.0, 25.0)
AMDAHL_RANKS = (2, 4, 8, 64)


@table("preset | weights | AdamW's two averages | random states | together")
def checkpoint_bytes() -> Iterator[list[str]]:
    """Size one checkpoint file by file."""
    drawn = encoding.encode(random_states(), name="random")[1].values()
    rng_state = f"{sum(state.nbytes for state in drawn):,} bytes per rank"
    for model in MODELS:
        weights = gradient_bytes(model)
        yield [f"`{model}`", mb(weights), mb(2 * weights), rng_state, mb(3 * weights)]


@table("saved every | steps lost at most | rows trained again | time | written")
def lost_work() -> Iterator[list[str]]:
    """Say what a failure costs, by how often is saved; steps of a measured length."""
    step_s = figures("scaling")["strong"]["median_ms"] / 1000
    rows = DistributedSettings().global_batch_size
    saved = 3 * gradient_bytes("minilm")
    for steps in (10, 80, 500):
        lost = steps - 1
        yield [
            f"{steps} steps",
            str(lost),
            f"{lost * rows:,}",
            f"{lost * step_s:,.0f} s",
            f"{mb(saved / steps)} per step",
        ]


@table("setting | how long a rank waits")
def patience() -> Iterator[list[str]]:
    """Say how long the others wait for a rank that does not come."""
    for who, seconds in (
        ("`dist.setup`, this course's default", process_group.TIMEOUT_S),
        ("gloo, torch's default", default_pg_timeout.total_seconds()),
    ):
        yield [who, f"{seconds / 60:.0f} minutes"]


@table("gradients of | bytes | gloo, two ranks here | nccl, two T4")
def same_bytes_other_link() -> Iterator[list[str]]:
    """Predict one all-reduce of each model's gradients over gloo and over nccl."""
    fit = _fitted("links", world_size=2)
    gloo = Link(fit["alpha_s"], fit["bytes_per_s"])
    for model in MODELS:
        num_bytes = gradient_bytes(model)
        gloo_s = step_model.ring_s(num_bytes, world_size=2, link=gloo)
        nccl = between(ring_ms(num_bytes), ".0f", " ms")
        yield [f"`{model}`", mb(num_bytes), f"{gloo_s * 1000:.0f} ms", nccl]


def _fitted(kind: str, **wanted: object) -> dict[str, float]:
    """What `benchmark calibrate` fitted, without the keys by which it is found."""
    fits = figures("calibration")["fitted"][kind]
    [fit] = [fit for fit in fits if all(fit[k] == v for k, v in wanted.items())]
    return {name: value for name, value in fit.items() if name not in wanted}


@table(
    "serial part | "
    + " | ".join(f"{num_ranks} ranks" for num_ranks in AMDAHL_RANKS)
    + " | never above"
)
def amdahl() -> Iterator[list[str]]:
    """Show what a part that does not divide does to the speed-up."""
    one_process = figures("scaling")["one_process"]
    measured = one_process["phases_ms"]["optimizer"] / one_process["median_ms"]
    for name, part in (
        ("1%", 0.01),
        (f"{measured:.1%}, our optimizer step", measured),
        ("25%", 0.25),
    ):
        speedups = (f"{1 / (part + (1 - part) / w):.2f}x" for w in AMDAHL_RANKS)
        yield [name, *speedups, f"{1 / part:.0f}x"]


@table("way | backward | gradient of the embedding")
def dense_or_touched() -> Iterator[list[str]]:
    """Show what backward takes, and which ways pay for a dense embedding gradient."""
    whole = mb(sizes.gradient_bytes("minilm")[0])
    for name, gradient in (
        ("torch_ddp", f"dense: {whole} written, all sent"),
        ("touched_rows", "touched rows written, touched rows sent"),
        ("unsynced", f"dense: {whole} written, nothing sent"),
        ("unsynced_touched_rows", "touched rows written, nothing sent"),
    ):
        backward_ms = figures("averaging")[name]["phases_ms"]["backward"]
        yield [averaging.TITLES[name], f"{backward_ms:.0f} ms", gradient]


def _more_machines(
    num_ranks: int, gbit_per_s: float
) -> predictions.BandwidthPrediction:
    """Predict minilm's step, if each rank had a machine like the measured one."""
    one_process = figures("scaling")["one_process"]
    phases = dict(one_process["phases_ms"])
    for name in ("forward", "backward"):
        phases[name] /= num_ranks
    return predictions.at_bandwidth(
        phases,
        gradient_bytes=sizes.gradient_bytes("minilm"),
        world_size=num_ranks,
        gbit_per_s=gbit_per_s,
        alone_ms=one_process["median_ms"],
    )


@table(
    "ranks | "
    + " | ".join(f"{gbit:.0f} Gbit/s" for gbit in NETWORKS_GBIT)
    + " | nothing to send"
)
def strong_scaling() -> Iterator[list[str]]:
    """Predict minilm's step on more machines like ours, over three networks."""
    for num_ranks in (2, 4, 8):
        steps = (_more_machines(num_ranks, gbit) for gbit in (*NETWORKS_GBIT, 1e6))
        cells = (f"{step.step_ms:.0f} ms, {step.speedup:.2f}x" for step in steps)
        yield [str(num_ranks), *cells]


@table("model | arithmetic of 16 rows | gradients | operations per byte sent")
def compute_and_send() -> Iterator[list[str]]:
    """Put what a step computes beside what it sends."""
    tokens = 16 * 53
    for model in MODELS:
        flops = sizes.SIZES[model].step_flops(53) * tokens
        num_bytes = gradient_bytes(model)
        yield [
            f"`{model}`",
            f"{flops / 1e9:,.0f} GFLOP",
            mb(num_bytes),
            f"{flops / num_bytes:,.0f}",
        ]


@table("rows per rank | step | synchronisation and waiting | optimizer")
def small_batches() -> Iterator[list[str]]:
    """Predict the share of synchronisation in a step on our two cores."""
    compute = Compute(**_fitted("computes", model="minilm", world_size=2))
    link = Link(**_fitted("links", world_size=2))
    grads = sizes.gradient_bytes("minilm")
    buckets = step_model.buckets_of(grads, work=[0, *grads[1:]])
    for rows in (1, 4, 16, 64):
        step = step_model.predict(
            compute, link, buckets=buckets, world_size=2, rows=rows, tokens=53
        )
        sync_s = step.exposed_s + step.contention_s + step.meeting_s
        yield [
            str(rows),
            f"{step.step_s * 1000:.0f} ms",
            f"{sync_s * 1000:.0f} ms ({sync_s / step.step_s:.0%})",
            f"{step.optimizer_s / step.step_s:.0%}",
        ]


PIECES = 4  # micro-batches of the table below


def _extra_meetings_s(compute: Compute, link: Link, *, model: str) -> float:
    """Seconds that a step of four pieces takes longer if each of them meets."""
    rows = DistributedSettings().global_batch_size // (2 * PIECES)
    step = step_model.predict(
        compute,
        link,
        buckets=calibration.ddp_buckets(model, calibration.DEFAULT_BUCKET_MIB),
        world_size=2,
        rows=rows,
        tokens=53,
    )
    return (PIECES - 1) * (step.exposed_s + step.contention_s + step.meeting_s)


@table("two ranks | a step is longer by | an epoch of AG News, 3,750 steps, by")
def forgotten_no_sync() -> Iterator[list[str]]:
    """Predict what four pieces of 4 rows cost if every one of them meets."""
    num_steps = 120_000 // DistributedSettings().global_batch_size
    by_place = {
        "our two cores, `minilm`": [
            _extra_meetings_s(
                Compute(**_fitted("computes", model="minilm", world_size=2)),
                Link(**_fitted("links", world_size=2)),
                model="minilm",
            )
        ]
    }
    for model in MODELS:
        by_place[f"two T4, `{model}`"] = [
            _extra_meetings_s(
                predictions.gpu_compute(model, 53, chosen),
                Link(
                    chosen["message_s"],
                    chosen["link_gb_per_s"] * 1e9,
                    chosen["contention"],
                ),
                model=model,
            )
            for chosen in predictions.low_high_combinations(published.T4_PAIR)
        ]
    for place, extra_s in by_place.items():
        ms = between((1000 * s for s in extra_s), unit=" ms")
        minutes = between((num_steps * s / 60 for s in extra_s), ".1f", " min")
        if len(extra_s) == 1:
            ms, minutes = (text.partition(" to ")[2] for text in (ms, minutes))
        yield [place, ms, minutes]


@table("speed-up of two machines like ours | bandwidth, at least")
def break_even() -> Iterator[list[str]]:
    """Find the bandwidth from which two machines beat one."""
    for goal in (1.0, 1.5, 1.7):
        low, high = 0.01, 1000.0
        for _ in range(40):  # bisection: more bandwidth never slows a step
            middle = (low * high) ** 0.5
            enough = _more_machines(2, middle).speedup >= goal
            low, high = (low, middle) if enough else (middle, high)
        yield [f"{goal:.1f}x of one", f"{high:.1f} Gbit/s"]


@table(
    "ranks | shuffled: padding | with waiting | work per real token | "
    "by length: padding | with waiting | work per real token"
)
def waiting_by_ranks() -> Iterator[list[str]]:
    """Count padding and waiting of both kinds of batches, from the samplers' plans."""
    lengths = length_batches.lengths(16 * 8 * 60)
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
            row += [
                f"{padding_share(lengths, shards):.0%}",
                f"{step_padding:.0%}",
                f"{1 / (1 - step_padding):.2f}",
            ]
        yield row


@table(
    f"what | bytes per parameter, {NUM_SHARDS} ranks | {' | '.join(MODELS)} | "
    "7 billion parameters"
)
def memory_by_stage() -> Iterator[list[str]]:
    """Count a rank's bytes for the model's state; activations come on top."""
    for name, stage in {
        "DDP": "DDP",
        "ZeRO-1: optimizer sharded": "ZeRO-1",
        "ZeRO-2: gradients, too": "ZeRO-2",
        "ZeRO-3, FSDP: weights, too": "ZeRO-3",
    }.items():
        each = sum(stage_memory.bytes_per_parameter(stage, NUM_SHARDS).values())
        yield [name, f"{each:g}", *_state(each), f"{each * 7:.0f} GB"]


def _state(bytes_per_parameter: float) -> list[str]:
    return [mb(bytes_per_parameter * gradient_bytes(model) / 4) for model in MODELS]


@table(f"what | collectives of a step | units | {' | '.join(MODELS)}")
def stage_traffic() -> Iterator[list[str]]:
    """Count what a rank sends in a step, by what is sharded."""
    for name, stage, what in (
        ("DDP", "DDP", "all-reduce of gradients"),
        (
            "ZeRO-1, ZeRO-2",
            "ZeRO-1",
            "reduce-scatter of gradients, all-gather of weights",
        ),
        (
            "ZeRO-3, FSDP",
            "ZeRO-3",
            "all-gather of weights in forward, again in backward, reduce-scatter of "
            "gradients",
        ),
    ):
        sent = (
            mb(
                stage_memory.sent_bytes(
                    stage, NUM_SHARDS, parameters=gradient_bytes(model) / 4
                )
            )
            for model in MODELS
        )
        yield [name, what, str(stage_memory.UNITS[stage]), *sent]


@table(f"what is in memory | bytes per parameter | {' | '.join(MODELS)}")
def train_and_serve() -> Iterator[list[str]]:
    """Put a rank's state in training beside what serving holds."""
    for name, bytes_per_parameter in (
        ("training, each rank: weights, gradients, AdamW", 16),
        ("answering in float32: weights", 4),
    ):
        yield [name, str(bytes_per_parameter), *_state(bytes_per_parameter)]
