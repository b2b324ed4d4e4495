"""Files of measurements: written once, checked when read, compared like with like.

Promise: a file names its schema, what was measured, hardware, versions, settings,
commit and date. One that is damaged, of another schema or from other hardware is
refused with a reason; nothing is ever overwritten with less.

Not here: measuring (`distrinews.bench.timing`).

Guide: benchmarks/how-to-add-yours.
"""

from __future__ import annotations

import datetime
import math
import pathlib
import subprocess
from typing import Any, NoReturn, Protocol

from distrinews import dist
from distrinews.bench.timing import FEWEST_ROUNDS
from distrinews.dist import Ranks
from distrinews.errors import ResultError
from distrinews.system import checkout, files, machine

__all__ = [
    "SCHEMA",
    "check_comparable",
    "check_publishable",
    "compare",
    "hardware",
    "print_and_save",
    "save",
    "read",
    "build_record",
    "write",
]

SCHEMA = 1
REQUIRED_FIELDS = {
    "schema": int,
    "kind": str,
    "date": str,
    "commit": str,
    "settings": dict,
    "environment": dict,
    "figures": dict,
}
# What makes two machines the same for a comparison.
HARDWARE = ("cpu", "num_cores", "gpus")


class NamesFile(Protocol):
    """Settings that say where the numbers go."""

    @property
    def json_path(self) -> str | None:
        """The file; None if none was asked for."""

    def model_dump(self, *, exclude: set[str]) -> dict[str, Any]:
        """All of them as plain values, as pydantic does."""


def build_record(
    kind: str, *, figures: dict[str, Any], settings: dict[str, Any], num_ranks: int
) -> dict[str, Any]:
    """Put figures together with everything that they depend on.

    Args:
        kind: What was measured, such as "scaling".
        figures: Plain values.
        settings: What could have been chosen otherwise.
        num_ranks: How many ranks took part.

    Returns:
        What `write` writes.

    Examples:
        >>> build_record("steps", figures={"ms": 5}, settings={}, num_ranks=2)["schema"]
        1
    """
    return {
        "schema": SCHEMA,
        "kind": kind,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": _commit(),
        "settings": settings,
        "environment": machine.describe() | {"num_ranks": num_ranks},
        "figures": figures,
    }


def write(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Write a record; it gets its name only when it is complete.

    Args:
        path: The file; made with its folders. An older one is replaced.
        record: What `build_record` returned.

    Raises:
        OSError: It could not be written, as the OutputError that names the cure; an
            older file is as it was. On this rank only.
    """
    files.write_json(path, record)


def save(
    settings: NamesFile,
    kind: str,
    *,
    figures: dict[str, Any],
    ranks: Ranks,
    always: pathlib.Path | None = None,
) -> None:
    """Write what was measured to the file that the settings name.

    Args:
        settings: What was measured with; `json_path` names the file.
        kind: What was measured.
        figures: Plain values.
        ranks: How many took part, and on which kind of device.
        always: A file that is written first, whatever the settings name: what was
            measured is kept also when their file cannot be written.

    Raises:
        OSError: As `write`. On this rank only.
    """
    record = build_record(
        kind,
        figures=figures,
        settings=settings.model_dump(exclude={"run_name", "runs_dir", "json_path"}),
        num_ranks=ranks.world_size,
    )
    record["environment"]["device"] = ranks.device.type
    named = pathlib.Path(settings.json_path) if settings.json_path else None
    for path in (always, named):
        if path is not None:
            write(path, record)


def print_and_save(
    settings: NamesFile, kind: str, *text: str, figures: dict[str, Any], ranks: Ranks
) -> None:
    """Print what was measured, then `save` it, both on rank 0.

    Collective: every rank must call it.

    Args:
        settings: What was measured with.
        kind: What was measured.
        *text: What to print, parts with a blank line between them; empty ones are not.
        figures: Plain values; rank 0's are written.
        ranks: Who this process is.

    Raises:
        OSError: As `write`. On every rank.
    """
    with dist.raise_together():
        if ranks.is_main:
            print("\n\n".join(part for part in text if part))
            save(settings, kind, figures=figures, ranks=ranks)


def read(path: pathlib.Path, *, kind: str | None = None) -> dict[str, Any]:
    """Read a record and check that it is one.

    Args:
        path: The file.
        kind: What it must be a measurement of; None for anything.

    Returns:
        The record.

    Raises:
        ResultError: It is missing, damaged, of another schema or kind. On this rank
            only.
    """
    try:
        record = files.read_json(path)
    except (OSError, ValueError) as error:
        _refuse(path, f"it cannot be read ({error})")
    if not isinstance(record, dict):
        _refuse(path, "it holds no table")
    for name, expected in REQUIRED_FIELDS.items():
        if type(record.get(name)) is not expected:
            _refuse(path, f"{name!r} is missing or no {expected.__name__}")
    if record["schema"] != SCHEMA:
        _refuse(path, f"its schema is {record['schema']}, this version reads {SCHEMA}")
    if kind is not None and record["kind"] != kind:
        _refuse(path, f"it is a measurement of {record['kind']!r}, not of {kind!r}")
    if not all(math.isfinite(number) for number in _numbers(record["figures"])):
        _refuse(path, "a figure is not finite")
    return record


def hardware(record: dict[str, Any]) -> dict[str, Any]:
    """Say on what a record was measured.

    Args:
        record: A record.

    Returns:
        Processor, cores, GPUs, and which of them computed.

    Examples:
        >>> hardware({"environment": {"cpu": "x", "num_cores": 2, "memory_bytes": 5}})
        {'cpu': 'x', 'num_cores': 2, 'gpus': None, 'device': 'cpu'}
    """
    values = {name: record["environment"].get(name) for name in HARDWARE}
    return values | {"device": record["environment"].get("device", "cpu")}


def check_comparable(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Refuse to compare what was measured on different hardware.

    Args:
        first: A record.
        second: Another.

    Raises:
        ResultError: They are from different hardware, or of different kinds.
    """
    if first["kind"] != second["kind"]:
        raise ResultError(
            f"one file measures {first['kind']!r}, the other {second['kind']!r}.",
            why="the numbers of the two files mean different things.",
            fix="compare two files of one kind.",
            page="benchmark-files",
        )
    if hardware(first) != hardware(second):
        raise ResultError(
            f"the files are from different hardware: {hardware(first)} and "
            f"{hardware(second)}.",
            why="a faster machine would pass for a faster program.",
            fix="measure both on the same machine, in one run if you can.",
            page="benchmark-files",
        )


def check_publishable(path: pathlib.Path, *, noisy: bool = False) -> dict[str, Any]:
    """Refuse a file that could not stand beside the committed ones.

    Args:
        path: A record.
        noisy: Whether to let pass what a busy machine measured; whoever shows it must
            say so.

    Returns:
        The record.

    Raises:
        ResultError: It is damaged, nobody could repeat it (files differed from the
            commit), or its machine was too noisy. On this rank only.
    """
    record = read(path)
    commit = record["commit"]
    if len(commit) != 40:
        _refuse(path, f"its commit is {commit!r}: the code cannot be checked out")
    rows = {n: r for n, r in record["figures"].items() if isinstance(r, dict)}
    untimed = [name for name, row in rows.items() if not _median_ms(row)]
    if untimed or not rows:
        _refuse(path, f"no time in {', '.join(untimed) or 'it'}")
    busy = [name for name, row in rows.items() if row.get("noisy")]
    if busy and not noisy:
        _refuse(path, f"the machine was too noisy while it timed {', '.join(busy)}")
    few = [n for n, r in rows.items() if len(r.get("all_ms") or []) < FEWEST_ROUNDS]
    if few:
        _refuse(path, f"{', '.join(few)}: fewer than {FEWEST_ROUNDS} rounds")
    return record


def _median_ms(row: dict[str, Any]) -> float | None:
    """A row's time; None for what is none."""
    ms = row.get("median_ms")
    return float(ms) if isinstance(ms, int | float) and ms > 0 else None


def _numbers(value: Any) -> list[float]:
    """Every number in nested plain values."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in _numbers(item)]
    return [value] if isinstance(value, int | float) else []


def _commit() -> str:
    """The commit of this checkout, with "+" if files differ; "unknown" without git."""
    library = checkout.ROOT / "distrinews"
    outputs = []
    for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."]):
        try:
            done = subprocess.run(
                ["git", "-C", str(library), *arguments],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return "unknown"
        outputs.append(done.stdout.strip())
    return outputs[0] + "+" * bool(outputs[1])


def compare(first_path: pathlib.Path, second_path: pathlib.Path) -> list[list[str]]:
    """Set two measurements of the same kind and hardware side by side.

    Args:
        first_path: A record whose figures have a `median_ms` each.
        second_path: Another.

    Returns:
        Lines of a table: name, milliseconds of both, the second by the first; "noisy"
        where a machine was too busy for the ratio to mean much.

    Raises:
        ResultError: One is damaged, they are from different hardware or of different
            kinds, or have no figure in common. On this rank only.
    """
    first, second = read(first_path), read(second_path)
    check_comparable(first, second)
    lines = [["figure", first_path.name, second_path.name, "ratio"]]
    for name, row in first["figures"].items():
        pair = [r for r in (row, second["figures"].get(name)) if isinstance(r, dict)]
        times = [ms for ms in map(_median_ms, pair) if ms]
        if len(times) == 2:
            noisy = any(r.get("noisy") for r in pair)
            ratio = f"{times[1] / times[0]:.2f}x" + " (noisy)" * noisy
            lines.append([name, *(f"{ms:.1f} ms" for ms in times), ratio])
    if len(lines) == 1:
        _refuse(second_path, f"it has no timed figure in common with {first_path.name}")
    return lines


def _refuse(path: pathlib.Path, reason: str) -> NoReturn:
    raise ResultError(
        f"{path} is not usable as a file of measurements: {reason}.",
        why="numbers without their origin prove nothing.",
        fix="measure again, with --json PATH; committed files lie in "
        "site_docs/benchmarks/results.",
        page="benchmark-files",
    )
