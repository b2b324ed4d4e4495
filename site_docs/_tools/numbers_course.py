"""Numbers of the chapters' and exercises' pages, from what was captured or declared."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import records
from exercise_pictures import TRACES
from number_tables import table, text

from distrinews.course.sheets import EXERCISES, ExerciseSheet, exercise_names

# The captured run -> processes, batches.
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


@text
def exercise_table() -> str:
    """Every exercise, the easy ones first."""
    lines = ["| exercise | what it is about, with the page | target |", "|---|---|---|"]
    for sheet in map(ExerciseSheet.read, exercise_names()):
        about, page = sheet.title.rstrip("."), sheet.fields["Concept"]
        # WHY three columns and not five: a telephone has room for three.
        lines.append(
            f"| `{sheet.name}`, {sheet.fields['Level']} | [{about}](../{page}.md) | "
            f"{sheet.fields['Target']} |"
        )
    return "\n".join(lines)


@text
def exercise_counts() -> str:
    """How many there are, of each level, and how many wrong solutions."""
    sheets = [ExerciseSheet.read(name) for name in exercise_names()]
    levels = [sheet.fields["Level"] for sheet in sheets]
    by_level = ", ".join(
        f"{levels.count(level)} {level}" for level in dict.fromkeys(levels)
    )
    wrong = len(list((EXERCISES / "wrong").glob("*.py")))
    return f"{len(sheets)} exercises ({by_level}), {wrong} typical wrong solutions."


@text
def exercise_trace_origin() -> str:
    """Where and when the traces of the picture were recorded."""
    record = json.loads(TRACES.read_text(encoding="utf-8"))
    env = record["environment"]
    return (
        f"<small>One run of each on {record['date']}: {env['cpu']}, {env['num_cores']} "
        f"cores, torch {env['packages']['torch']}. It shows an order, and is no "
        "measurement of speed: the first all-reduces of a process also connect it to "
        "the others.</small>"
    )


@text
def independent_serving() -> str:
    """Our server beside a plain route, measured by somebody else."""
    load = records.record("independent")["serving"]
    return (
        f"Measured independently with {load['client']} as well "
        f"({load['num_connections']} connections, {load['texts']} texts, a "
        f"{load['machine']} machine, {load['num_rounds']} runs): "
        f"{load['ratio_to_naive']}x a plain route (independent.json). That run's date, "
        "processor and versions are not recorded."
    )
