"""What differs from accelerate and Fabric, as `measure_own_task.py` recorded it."""

from __future__ import annotations

from collections.abc import Iterator
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
    figures = [found["figures"][name] for name in PROGRAMS]
    rows = found["settings"]["test_rows"]
    yield ["version", *(each["version"] for each in figures)]
    yield ["lines of the program", *(str(each["lines"]) for each in figures)]
    yield [
        f"test rows counted, of {rows}",
        *(", ".join(map(str, each["rows_counted"])) for each in figures),
    ]
    yield ["killed in mid-epoch, resumed", *map(_bits, figures)]
    for mistake, words in MISTAKES.items():
        yield [
            words,
            *(_message(each["mistakes"][mistake], mistake) for each in figures),
        ]


def _bits(figures: dict[str, Any]) -> str:
    if not figures["repeats_to_the_bit"]:
        return "not measured: two undisturbed runs differ"
    return "the same bits" if figures["resumes_to_the_bit"] else "other weights"


def _message(found: dict[str, Any], mistake: str) -> str:
    """How many lines, and what they name."""
    if found["exit_code"] is None:
        return "no message within 5 min"
    lines = f"{found['lines']} lines"
    if found["exit_code"] == 0:
        return f"goes on from the one before, {lines}"
    cause = "cause named" if found["names_cause"] else "cause not named"
    if mistake in {"model", "damage"}:
        return f"{lines}, {cause}"
    blamed = found["blamed_rank"]
    return f"{lines}, {cause}, " + (
        "no rank named" if blamed is None else f"blames rank {blamed}"
    )
