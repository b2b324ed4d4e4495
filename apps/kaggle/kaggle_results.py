"""What came out: losses side by side, the speed-up as a picture, files to take home.

Promise: a picture shows numbers of one record; what was predicted is drawn as such.

Not here: measuring (chapter 06), drawing (`kaggle_draw`).

Guide: howto/kaggle.
"""

from __future__ import annotations

import json
import pathlib
import zipfile
from collections.abc import Iterable

from kaggle_commands import Commands, Done
from kaggle_plan import Plan

__all__ = ["compare", "draw_speed_up", "pack", "verdict"]


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

    Raises:
        RuntimeError: The program that draws failed.
    """
    words: list[object] = [pathlib.Path(__file__).with_name("kaggle_draw.py")]
    words.append(commands.work / plan.record)
    if plan.record == "t4_scaling.json":
        results = commands.checkout / "site_docs" / "benchmarks" / "results"
        words.append(results / "prediction.json")
    commands.run("python", *words)
    return commands.work / "speed_up.png"


def verdict(done: Done) -> str:
    """Say whether a measurement could stand on the site.

    Args:
        done: How `benchmark check` ended.

    Returns:
        One sentence. That a small plan's file is refused is no error.
    """
    if done.code == 0:
        return "This file could stand on the site: send it."
    said = [line for line in done.text.splitlines() if line.startswith("Error: ")]
    reason = said[0].removeprefix("Error: ") if said else done.text.strip()
    return f"This file could not stand on the site. {reason}"


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
