"""One process beside two, as their captured runs ended: equal, and faster or slower."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from renewal import SITE

from distrinews.bench.timing import draw_table

__all__ = ["one_and_two"]

CAPTURED = SITE / "learn" / "captured"
# As in chapter_pages.py: above it, other programs took part of the time.
MAX_OTHERS_SHARE = 0.05
RUNS = {
    "01_single_gpu": ("1", "shuffled"),
    "05_shuffled": ("2", "shuffled"),
    "05_one_rank": ("1", "by length"),
    "05_ddp_training": ("2", "by length"),
}


@dataclass(frozen=True)
class End:
    """How a captured run ended.

    Attributes:
        command: As it was typed.
        loss: On the validation rows, as printed.
        accuracy: On the test rows, as printed.
        confusion: The matrix's lines, as printed.
        samples_per_s: While training, as printed; None on a busy machine.
    """

    command: str
    loss: str
    accuracy: str
    confusion: tuple[str, ...]
    samples_per_s: str | None


def end_of(name: str) -> End:
    """Read how a captured run ended.

    Args:
        name: The capture; a step of the same name is in it.

    Returns:
        What it printed.
    """
    record = json.loads((CAPTURED / f"{name}.json").read_text(encoding="utf-8"))
    text = (CAPTURED / f"{name}.txt").read_text(encoding="utf-8")
    step = record["steps"][name]
    [loss] = re.findall(r"^step \d+: .* loss ([\d.]+) on", text, re.MULTILINE)
    [accuracy] = re.findall(r"^accuracy ([\d.]+),", text, re.MULTILINE)
    [rate] = re.findall(r"^([\d.]+) samples/s", text, re.MULTILINE)
    quiet = step["others_share"] <= MAX_OTHERS_SHARE
    return End(
        step["command"],
        loss,
        accuracy,
        tuple(re.findall(r"^true .*", text, re.MULTILINE)),
        f"{float(rate):.1f}" if quiet else None,
    )


def one_and_two() -> str:
    """Set one process beside two, with chapter 01's batches and with chapter 05's.

    Returns:
        A Markdown table.
    """
    head = "command,processes,batches,validation loss,test accuracy,samples/s"
    lines = [head.split(",")]
    for name, (num_ranks, batches) in RUNS.items():
        end = end_of(name)
        command = end.command.removeprefix("python chapters/")
        lines.append([
            f"`{command}`",
            num_ranks,
            batches,
            end.loss,
            end.accuracy,
            end.samples_per_s or "not measured (busy machine)",
        ])
    return draw_table(lines)
