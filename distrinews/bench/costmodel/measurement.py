"""Time what the cost model is fitted to, and what it is judged by.

Promise: parts of a step and whole steps take turns in one process group, on the same
machine in the same minutes. The model's rows are made up (their length is what counts),
so nothing is downloaded.

Not here: what is timed (`distrinews.bench.costmodel.calibration_plan`), fitting and
judging (`distrinews.bench.costmodel.calibration`).

Letters used for shapes: W = number of ranks, B = rows per rank, T = tokens per row.
Guide: benchmarks/cost-model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import nn
from tqdm import tqdm

from distrinews import sync
from distrinews.bench import results, steps, timing
from distrinews.bench.costmodel import calibration
from distrinews.bench.costmodel.calibration import DEFAULT_BUCKET_MIB, MIB, Setting
from distrinews.bench.costmodel.calibration_plan import (
    CalibrationSettings,
    PlannedReplica,
    plan,
)
from distrinews.bench.timing import PhaseTimer
from distrinews.config.settings import TrainSettings
from distrinews.dist import Ranks, process_group
from distrinews.model import sizes
from distrinews.system import machine
from distrinews.training import build_optimizer

__all__ = ["measure", "run"]

ALL_REDUCE_BYTES = (16 * 1024, MIB, 8 * MIB, 48 * MIB)


def measure(
    ranks: Ranks, settings: CalibrationSettings
) -> tuple[dict[str, list[dict[str, Any]]], list[dict[str, Any]]]:
    """Time everything in the plan.

    Collective: every rank must call it.

    Args:
        ranks: Who this process is.
        settings: What to measure.

    Returns:
        What `calibration.fit` is fitted to, and what it is judged by. The same on every
        rank.

    Note:
        Cost: memory for one replica of each model.
    """
    planned_replicas = plan(settings)
    rounds = timing.NUM_WARMUPS + settings.num_rounds
    num_steps = sum(len(planned.steps()) for planned in planned_replicas)
    num_steps += len(ALL_REDUCE_BYTES) * (ranks.world_size - 1)
    bar = tqdm(total=rounds * num_steps, desc="calibrate", disable=not ranks.is_main)
    groups = {
        size: process_group.new_group(range(size))
        for size in range(2, ranks.world_size + 1)
    }
    calibrated: dict[str, list[dict[str, Any]]] = {"all_reduce": []}
    calibrated |= {"compute": [], "overlap": []}
    for size, group in groups.items():
        calibrated["all_reduce"] += _time_all_reduces(
            ranks, settings, size=size, group=group
        )
        bar.update(rounds * len(ALL_REDUCE_BYTES))
    nets: dict[str, nn.Module] = {}
    held_out: list[dict[str, Any]] = []
    for planned in planned_replicas:
        if planned.model not in nets:
            nets[planned.model] = sizes.build(planned.model).to(ranks.device)
        members = groups.get(planned.world_size)
        timed = _time_steps(planned, nets[planned.model], ranks, settings, members)
        for (kind, (rows, tokens)), times in zip(planned.steps(), timed, strict=True):
            setting = Setting(
                planned.model, planned.world_size, rows, tokens, planned.bucket_mib
            )
            _add_step(calibrated, held_out, kind, asdict(setting), times)
        bar.update(rounds * len(planned.steps()))
    bar.close()
    return calibrated, held_out


def lower_quartile_round(times: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
    """Choose the round that stands for all: a quarter of them were faster.

    Why not the median: something else that computes on this machine only ever adds
    time, and for seconds at once. It may spoil half of the rounds of one step and none
    of another's; the fit would then be to a machine that never was.

    Args:
        times: What `timing.interleave` returned for one step.

    Returns:
        That round's phases, which add up to its total.

    Examples:
        >>> lower_quartile_round([{"total": ms} for ms in (9.0, 5.0, 70.0, 6.0, 80.0)])
        {'total': 6.0}
    """
    return sorted(times, key=lambda phases: phases["total"])[len(times) // 4]


def _add_step(
    calibrated: dict[str, list[dict[str, Any]]],
    held_out: list[dict[str, Any]],
    kind: str,
    setting: dict[str, Any],
    times: Sequence[Mapping[str, float]],
) -> None:
    """Add one step's times to the calibration or to the held-out rows."""
    chosen = lower_quartile_round(times)
    kept = {"step_ms": round(chosen["total"], 3)}
    kept["spread"] = timing.spread([phases["total"] for phases in times])
    if kind == "fitted":
        phases = {f"{name}_ms": round(ms, 3) for name, ms in chosen.items()}
        del phases["total_ms"]
        calibrated["compute"].append(setting | phases | kept)
    elif kind == "overlap":
        calibrated["overlap"].append(setting | kept)
    else:
        measured = {"measured_ms": kept["step_ms"], "spread": kept["spread"]}
        held_out.append(setting | measured)


def _time_all_reduces(
    ranks: Ranks, settings: CalibrationSettings, *, size: int, group: Any
) -> list[dict[str, Any]]:
    """All-reduces of several sizes between the first ranks; the others wait."""

    def make_variant(num_bytes: int) -> timing.Variant:
        tensor = torch.zeros(num_bytes // 4, device=ranks.device)

        def reduce(_: PhaseTimer) -> None:
            if ranks.rank < size:
                torch_dist.all_reduce(tensor, group=group)

        return reduce

    variants = {
        str(num_bytes): make_variant(num_bytes) for num_bytes in ALL_REDUCE_BYTES
    }
    with machine.threads(max(1, machine.num_cores() // size)):
        timings = timing.interleave(
            variants, ranks, num_rounds=settings.num_rounds, title=None
        )
    return [
        {
            "world_size": size,
            "num_bytes": int(name),
            "step_ms": round(lower_quartile_round(rounds)["total"], 3),
        }
        for name, rounds in timings.items()
    ]


def _time_steps(
    planned: PlannedReplica,
    net: nn.Module,
    ranks: Ranks,
    settings: CalibrationSettings,
    group: Any,
) -> list[list[dict[str, float]]]:
    """Time the steps of one replica in turn; ranks that take no part wait."""
    takes_part = ranks.rank < planned.world_size
    replica = net
    if takes_part and planned.world_size > 1:
        default = planned.bucket_mib == DEFAULT_BUCKET_MIB
        bucket_mib = None if default else planned.bucket_mib
        replica = sync.wrap_ddp(
            net, ranks, process_group=group, bucket_cap_mb=bucket_mib
        )
    # WHY hardly a rate: weights that run away to infinity compute at another speed.
    still = TrainSettings.model_validate({"learning_rate": 1e-6})
    optimizer = build_optimizer(net, settings=still)

    def make_step(kind: str, shape: tuple[int, int]) -> timing.Variant:
        vocabulary = sizes.SIZES[planned.model].vocabulary
        ids = torch.randint(vocabulary, shape, device=ranks.device)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

        def take_step(timer: PhaseTimer) -> None:
            if takes_part:
                steps.take_step(
                    replica,
                    (inputs, ids[:, 0] % 4),
                    optimizer=optimizer,
                    settings=still,
                    timer=timer,
                    synchronise=kind != "fitted",
                )

        return take_step

    variants = {str(k): make_step(*step) for k, step in enumerate(planned.steps())}
    with machine.threads(max(1, machine.num_cores() // planned.world_size)):
        timings = timing.interleave(
            variants, ranks, num_rounds=settings.num_rounds, title=None
        )
    return list(timings.values())


def run(ranks: Ranks, settings: CalibrationSettings) -> None:
    """Measure, fit, judge, print, and write the record if one was asked for.

    Collective: every rank must call it; it is what `dist.launch` runs.

    Args:
        ranks: Who this process is.
        settings: What to measure.
    """
    # The same on every rank, and so is an error.
    result = calibration.figures(*measure(ranks, settings))
    text = calibration.table(result)
    results.print_and_save(settings, "calibration", text, figures=result, ranks=ranks)
