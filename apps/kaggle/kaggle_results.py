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

from kaggle_desk import Desk
from kaggle_plan import Plan

__all__ = ["compare", "draw_speed_up", "pack"]


def compare(desk: Desk, *, lines: int = 8) -> str:
    """Set the losses of one rank and of two side by side.

    Args:
        desk: Where the runs `one` and `two` are.
        lines: How many steps.

    Returns:
        A table: optimizer step, loss over all ranks of both runs, their difference.
    """
    losses = [_losses(desk.work / "runs" / name) for name in ("one", "two")]
    both = sorted(losses[0].keys() & losses[1].keys())
    shown = both[:: max(1, len(both) // lines)]
    told = ["  step   one rank  two ranks  difference"]
    for step in shown:
        one, two = (loss[step] for loss in losses)
        told.append(f"{step:6}  {one:9.6f}  {two:9.6f}  {abs(one - two):10.1e}")
    return "\n".join(told)


def _losses(run: pathlib.Path) -> dict[int, float]:
    """Step -> loss, from a run's log."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line) for line in lines]
    return {one["step"]: one["loss"] for one in entries if "loss" in one}


def draw_speed_up(desk: Desk, plan: Plan) -> pathlib.Path:
    """Draw how much faster two ranks were, beside what was predicted for two T4.

    Args:
        desk: Where the record of chapter 06 is.
        plan: Names it.

    Returns:
        The picture, a PNG; an SVG lies beside it.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    told = json.loads((desk.work / plan.record).read_text(encoding="utf-8"))
    ways = {"strong": "same rows a step", "weak": "same rows a rank"}
    figure, axes = pyplot.subplots(figsize=(7.2, 3.6), layout="constrained")
    measured = [told["figures"][way]["speedup"] for way in ways]
    bars = axes.bar(
        list(ways.values()), measured, 0.5, color="#0072B2", label="measured"
    )
    axes.bar_label(bars, fmt="%.2fx", padding=3)
    num_ranks = told["environment"]["num_ranks"]
    axes.axhline(num_ranks, color="#999999", ls="--", label=f"{num_ranks}x: the ideal")
    axes.axhline(1, color="#999999", label="1x: one process")
    if plan.record == "t4_scaling.json":
        for place, (low, high) in enumerate(_predicted(desk)):
            label = "predicted" if place == 0 else None
            axes.plot(
                [place + 0.32] * 2, [low, high], "_-", color="#D55E00", label=label
            )
    axes.set_ylabel("times one process")
    axes.set_ylim(0, 1.2 * max(num_ranks, *measured))
    hardware = told["environment"]
    names = " + ".join(hardware["gpus"]) if hardware["device"] == "cuda" else "CPU"
    axes.set_title(f"{told['settings']['preset']} on {names}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    for kind in ("svg", "png"):
        figure.savefig(desk.work / f"speed_up.{kind}", dpi=150)
    pyplot.close(figure)
    return desk.work / "speed_up.png"


def _predicted(desk: Desk) -> list[Sequence[float]]:
    """The committed prediction: [lowest, highest] speed-up of both ways."""
    path = desk.checkout / "site_docs" / "benchmarks" / "results" / "prediction.json"
    told: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    known = told["figures"]["t4"]["distilbert"]
    return [known[way]["speedup"] for way in ("two", "two_weak")]


def pack(desk: Desk, names: Iterable[str]) -> pathlib.Path:
    """Put what you take home into one file.

    Args:
        desk: Where the files are.
        names: Files and folders below `desk.work`; those that are not there are named.

    Returns:
        The archive.
    """
    target = desk.work / "bring_home.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for name in names:
            there = desk.work / name
            paths = sorted(there.rglob("*")) if there.is_dir() else [there]
            files = [path for path in paths if path.is_file()]
            for path in files:
                archive.write(path, path.relative_to(desk.work))
            size = sum(path.stat().st_size for path in files) / 1e6
            print(f"{name:32} {size:8.1f} MB" if files else f"{name:32} not there")
    print(f"{target.name}: {target.stat().st_size / 1e6:.1f} MB")
    return target
