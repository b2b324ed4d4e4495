"""One process beside two, as their captured runs ended: equal, and faster or slower."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import records
from number_tables import table

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
    """Read how a captured run ended."""
    run, printed = records.capture(name), records.captured_text(name)
    [loss] = re.findall(r"^step \d+: .* loss ([\d.]+) on", printed, re.MULTILINE)
    [accuracy] = re.findall(r"^accuracy ([\d.]+),", printed, re.MULTILINE)
    [rate] = re.findall(r"^([\d.]+) samples/s", printed, re.MULTILINE)
    return End(
        run["command"],
        loss,
        accuracy,
        tuple(re.findall(r"^true .*", printed, re.MULTILINE)),
        None if run["busy"] else f"{float(rate):.1f}",
    )


@table("command | processes | batches | validation loss | test accuracy | samples/s")
def one_and_two() -> Iterator[list[str]]:
    """Set one process beside two, with chapter 01's batches and with chapter 05's."""
    for name, (num_ranks, batches) in RUNS.items():
        end = end_of(name)
        command = f"`{end.command.removeprefix('python chapters/')}`"
        rate = end.samples_per_s or "not measured (busy machine)"
        yield [command, num_ranks, batches, end.loss, end.accuracy, rate]
