"""The exercises' table, from what their files say about themselves."""

from __future__ import annotations

import json
import pathlib

from number_tables import text

from distrinews.course.sheets import EXERCISES, ExerciseSheet, exercise_names

TRACES = pathlib.Path(__file__).with_name("captured") / "exercise_traces.json"


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
