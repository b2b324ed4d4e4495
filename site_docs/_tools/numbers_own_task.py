"""What differs from accelerate and Fabric, as `measure_own_task.py` recorded it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from number_tables import table
from records import record

PROGRAMS = ("own", "own_torchrun", "accelerate", "fabric")
MISTAKES = {
    "raise": "rank 1 raises an error",
    "leave": "rank 1 leaves its loop, exit code 0",
    "kill": "rank 1 is killed (SIGKILL)",
    "model": "resumed with another model",
    "damage": "newest checkpoint cut off",
}


@table("what | `own_task.py` | ... with torchrun | accelerate | Fabric")
def own_task_rivals() -> Iterator[list[str]]:
    """Lines, rows, bits, and what each program says of five mistakes."""
    found = record("own_task")
    programs = [found["figures"].get(name) for name in PROGRAMS]
    cells: dict[str, Callable[[dict[str, Any]], str]] = {
        "version": lambda program: str(program["version"]),
        "lines of the program": lambda program: str(program["lines"]),
        f"test rows counted, of {found['settings']['test_rows']}": _rows,
        "killed in mid-epoch, resumed": _bits,
    }
    for mistake, words in MISTAKES.items():
        cells[words] = functools.partial(_message, mistake=mistake)
    for words, cell in cells.items():
        yield [words, *(cell(each) if each else "not measured" for each in programs)]


def _rows(program: dict[str, Any]) -> str:
    return ", ".join(map(str, program["rows_counted"]))


def _bits(program: dict[str, Any]) -> str:
    if not program["repeats_to_the_bit"]:
        return "not measured: two undisturbed runs differ"
    return "the same bits" if program["resumes_to_the_bit"] else "other weights"


def _message(program: dict[str, Any], *, mistake: str) -> str:
    """How many lines, and what they name."""
    found = program["mistakes"][mistake]
    if found["exit_code"] is None:
        return "no message within 5 min"
    lines = f"{found['lines']} line{'s' * (found['lines'] != 1)}"
    if found["exit_code"] == 0:
        return f"{lines}, resumes from the one before"
    cause = f"{lines}, cause {'' if found['names_cause'] else 'not '}named"
    if mistake in {"model", "damage"}:
        return cause
    blamed = found["blamed_rank"]
    return f"{cause}, blames {'no rank' if blamed is None else f'rank {blamed}'}"
