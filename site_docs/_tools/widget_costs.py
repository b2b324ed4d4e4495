"""What the widgets show of time: buckets on their way, and speed-ups.

Computed by the library from what it has measured (`benchmarks/results`) and from the
figures that it quotes (`distrinews.bench.costmodel.published`). `widget_fixtures`
writes it down.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import records

from distrinews.bench.costmodel import predictions, published, step_model
from distrinews.bench.costmodel.calibration import ddp_buckets
from distrinews.bench.costmodel.step_model import Compute, Link, Prediction
from distrinews.model import sizes

__all__ = ["buckets_fixture", "measured_data", "speed_fixture"]

BUCKETS_MIB = (1, 2, 5, 10, 25, 50)
NETWORKS_GBIT = (1, 2.5, 5, 10, 25, 100, 400)
RANKS = (1, 2, 4, 8, 16, 32)
ROWS = 32  # of a step (strong scaling) or of a rank (weak)
TOKENS = 53  # of a row: those of prediction.json
TINY_S = 1e-6


def measured_data() -> dict[str, Any]:
    """What our own runs measured, as the widgets draw it.

    Returns:
        Phases of a rank's step, the fitted speed of one rank, the figures of a T4, and
        speed-ups with the number of ranks, by kind of scaling.
    """
    scaling, calibration = records.record("scaling"), records.record("calibration")
    prediction = records.record("prediction")
    figures = scaling["figures"]
    ranks = scaling["settings"]["num_ranks"]
    return {
        "buckets_mib": BUCKETS_MIB,
        "networks_gbit": NETWORKS_GBIT,
        "ranks": RANKS,
        "rows": ROWS,
        "tokens": TOKENS,
        "phases_ms": figures["strong"]["phases_ms"],
        "phases_ranks": ranks,
        "origin": {"date": scaling["date"], "cpu": scaling["environment"]["cpu"]},
        "compute": _fitted(calibration),
        "t4": _t4(),
        "strong": [{"ranks": ranks, "speedup": figures["strong"]["speedup"]}],
        "weak": [
            {
                "ranks": ranks,
                "speedup": round(figures["weak"]["efficiency"] * ranks, 3),
            },
            *_weak_speedups(calibration["figures"]["held_out"]),
        ],
        "two_t4": {
            "strong": prediction["figures"]["t4"]["distilbert"]["two"]["speedup"],
            "weak": prediction["figures"]["t4"]["distilbert"]["two_weak"]["speedup"],
        },
    }


def _fitted(calibration: dict[str, Any]) -> dict[str, float]:
    """How fast one rank on one core computes minilm."""
    [fit] = [
        row
        for row in calibration["figures"]["fitted"]["computes"]
        if (row["model"], row["world_size"]) == ("minilm", 1)
    ]
    return {field.name: fit[field.name] for field in dataclasses.fields(Compute)}


def _t4() -> dict[str, list[float]]:
    figures = {
        name: [interval.low, interval.high]
        for name, interval in published.T4_PAIR.items()
    }
    return figures | {
        "flops_per_token": [sizes.SIZES["distilbert"].step_flops(TOKENS)] * 2
    }


def _weak_speedups(held_out: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Steps of several ranks that also one rank took, with the same rows a rank."""
    names = ("model", "rows", "tokens", "bucket_mib")
    single_rank_ms = {
        tuple(row[name] for name in names): row["measured_ms"]
        for row in held_out
        if row["world_size"] == 1
    }
    speedups = []
    for row in held_out:
        one_ms = single_rank_ms.get(tuple(row[name] for name in names))
        if row["model"] == "minilm" and row["world_size"] > 1 and one_ms:
            speedup = row["world_size"] * one_ms / row["measured_ms"]
            speedups.append({"ranks": row["world_size"], "speedup": round(speedup, 3)})
    return speedups


def buckets_fixture() -> list[dict[str, Any]]:
    """Cut two models and let their buckets travel.

    Returns:
        For models, bucket sizes and networks: the buckets, their times and the step.
    """
    phases_s = {
        name: value / 1000
        for name, value in records.record("scaling")["figures"]["strong"][
            "phases_ms"
        ].items()
    }
    forward_backward_s = phases_s["forward"] + phases_s["backward"]
    share = phases_s["backward"] / forward_backward_s
    compute = Compute(forward_backward_s, 0.0, 0.0, share, phases_s["optimizer"])
    cases = []
    for model, mib, gbit, ranks in itertools.product(
        ("minilm", "distilbert"), BUCKETS_MIB, (1, 5), (2, 8)
    ):
        link = Link(predictions.MESSAGE_S, gbit * 1e9 / 8)
        buckets = ddp_buckets(model, mib)
        step = step_model.predict(
            compute, link, buckets=buckets, world_size=ranks, rows=0, tokens=0
        )
        cases.append({
            "model": model,
            "bucket_mib": mib,
            "gbit": gbit,
            "ranks": ranks,
            "compute": dataclasses.asdict(compute),
            "buckets": buckets,
            "ends_s": _arrival_times(buckets, step.backward_s, link, ranks),
            "step": _parts(step),
        })
    return cases


def _arrival_times(
    buckets: Sequence[tuple[float, int]], backward_s: float, link: Link, ranks: int
) -> list[float]:
    """When each bucket has arrived, asked of `predict`."""
    # WHY so: of a backward of next to no time, with buckets that are full as late as in
    # the real one, nothing hides: then the exposed time is the arrival.
    scaled = [(ready * backward_s / TINY_S, num_bytes) for ready, num_bytes in buckets]
    instant = Compute(TINY_S, 0.0, 0.0, 1.0, 0.0)
    return [
        step_model.predict(
            instant, link, buckets=scaled[: i + 1], world_size=ranks, rows=0, tokens=0
        ).exposed_s
        + TINY_S
        for i in range(len(scaled))
    ]


def _parts(step: Prediction) -> dict[str, float]:
    return dataclasses.asdict(step) | {"step_s": step.step_s}


def speed_fixture() -> list[dict[str, Any]]:
    """Predict speed-ups as the calculator does.

    Returns:
        For hardware, kind of scaling, network and ranks: the lowest and the highest.
    """
    compute = Compute(**_fitted(records.record("calibration")))
    cases = []
    for hardware, kind, gbit, ranks in itertools.product(
        ("cpu", "t4"), ("strong", "weak"), NETWORKS_GBIT, RANKS
    ):
        rows = ROWS // ranks if kind == "strong" else ROWS
        work = 1 if kind == "strong" else ranks
        speedups = []
        for setup_compute, link in _combinations(hardware, gbit, compute):
            model = "minilm" if hardware == "cpu" else "distilbert"
            steps = [
                step_model.predict(
                    setup_compute,
                    link,
                    buckets=ddp_buckets(model, 25),
                    world_size=count,
                    rows=num_rows,
                    tokens=TOKENS,
                ).step_s
                for count, num_rows in ((1, ROWS), (ranks, rows))
            ]
            speedups.append(work * steps[0] / steps[1])
        cases.append({
            "hardware": hardware,
            "kind": kind,
            "gbit": gbit,
            "ranks": ranks,
            "speedup": [min(speedups), max(speedups)],
        })
    return cases


def _combinations(
    hardware: str, gbit: float, compute: Compute
) -> Iterator[tuple[Compute, Link]]:
    bytes_per_s = gbit * 1e9 / 8
    if hardware == "cpu":
        yield compute, Link(predictions.MESSAGE_S, bytes_per_s)
        return
    figures = {k: v for k, v in published.T4_PAIR.items() if k != "link_gb_per_s"}
    for combination in predictions.low_high_combinations(figures):
        link = Link(combination["message_s"], bytes_per_s, combination["contention"])
        yield predictions.gpu_compute("distilbert", TOKENS, combination), link
