"""What came out: losses side by side, the speed-up as a picture, files to take home.

Promise: a picture shows numbers of one record; what was predicted is drawn as such.

Not here: measuring (chapter 06).

Guide: howto/kaggle.
"""

from __future__ import annotations

import json
import pathlib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kaggle_commands import Commands
from kaggle_plan import Plan

__all__ = ["compare", "draw_speed_up", "pack"]


def compare(commands: Commands, *, lines: int = 8) -> str:
    """Set the losses of one rank and of two side by side.

    Args:
        commands: Where the runs `one` and `two` are.
        lines: How many steps.

    Returns:
        A table: optimizer step, loss over all ranks of both runs, their difference.
    """
    losses = [_losses(commands.work / "runs" / name) for name in ("one", "two")]
    steps = sorted(losses[0].keys() & losses[1].keys())
    shown_steps = steps[:: max(1, len(steps) // lines)]
    table = ["  step   one rank  two ranks  difference"]
    for step in shown_steps:
        first, second = (loss[step] for loss in losses)
        gap = abs(first - second)
        table.append(f"{step:6}  {first:9.6f}  {second:9.6f}  {gap:10.1e}")
    return "\n".join(table)


def _losses(run: pathlib.Path) -> dict[int, float]:
    """Step -> loss, from a run's log."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return {entry["step"]: entry["loss"] for entry in entries if "loss" in entry}


def draw_speed_up(commands: Commands, plan: Plan) -> pathlib.Path:
    """Draw how much faster two ranks were, beside what was predicted for two T4.

    Args:
        commands: Where the record of chapter 06 is.
        plan: Names it.

    Returns:
        The picture, a PNG; an SVG lies beside it.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    record = json.loads((commands.work / plan.record).read_text(encoding="utf-8"))
    variants = {"strong": "same rows a step", "weak": "same rows a rank"}
    figure, axes = pyplot.subplots(figsize=(7.2, 3.6), layout="constrained")
    measured = [record["figures"][variant]["speedup"] for variant in variants]
    bars = axes.bar(
        list(variants.values()), measured, 0.5, color="#0072B2", label="measured"
    )
    axes.bar_label(bars, fmt="%.2fx", padding=3)
    num_ranks = record["environment"]["num_ranks"]
    axes.axhline(num_ranks, color="#999999", ls="--", label=f"{num_ranks}x: the ideal")
    axes.axhline(1, color="#999999", label="1x: one process")
    if plan.record == "t4_scaling.json":
        for index, (low, high) in enumerate(_predicted(commands)):
            label = "predicted" if index == 0 else None
            axes.plot(
                [index + 0.32] * 2, [low, high], "_-", color="#D55E00", label=label
            )
    axes.set_ylabel("times one process")
    axes.set_ylim(0, 1.2 * max(num_ranks, *measured))
    hardware = record["environment"]
    names = " + ".join(hardware["gpus"]) if hardware["device"] == "cuda" else "CPU"
    axes.set_title(f"{record['settings']['preset']} on {names}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    for kind in ("svg", "png"):
        figure.savefig(commands.work / f"speed_up.{kind}", dpi=150)
    pyplot.close(figure)
    return commands.work / "speed_up.png"


def _predicted(commands: Commands) -> list[Sequence[float]]:
    """The committed prediction: [lowest, highest] speed-up of both variants."""
    results = commands.checkout / "site_docs" / "benchmarks" / "results"
    path = results / "prediction.json"
    record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    prediction = record["figures"]["t4"]["distilbert"]
    return [prediction[variant]["speedup"] for variant in ("two", "two_weak")]


def pack(commands: Commands, names: Iterable[str]) -> pathlib.Path:
    """Put what you take home into one file.

    Args:
        commands: Where the files are.
        names: Files and folders below `commands.work`; missing ones are named.

    Returns:
        The archive.
    """
    target = commands.work / "bring_home.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            source = commands.work / name
            paths = sorted(source.rglob("*")) if source.is_dir() else [source]
            files = [path for path in paths if path.is_file()]
            for path in files:
                archive.write(path, path.relative_to(commands.work))
            size = sum(path.stat().st_size for path in files) / 1e6
            print(f"{name:32} {size:8.1f} MB" if files else f"{name:32} not there")
    print(f"{target.name}: {target.stat().st_size / 1e6:.1f} MB")
    return target
