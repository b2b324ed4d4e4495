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
from typing import Any, NoReturn

from distrinews.config.settings import BenchmarkSettings
from distrinews.dist import Ranks
from distrinews.errors import ResultError
from distrinews.system import checkout, files, machine

__all__ = [
    "SCHEMA",
    "check_comparable",
    "check_publishable",
    "compare",
    "hardware",
    "keep",
    "read",
    "record",
    "write",
]

SCHEMA = 1
NEEDED = {
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
# Rounds below which a published median means little.
FEWEST_ROUNDS = 5


def record(
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
        >>> record("steps", figures={"ms": 5}, settings={}, num_ranks=2)["schema"]
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


def write(path: pathlib.Path, told: dict[str, Any]) -> None:
    """Write a record; it gets its name only when it is complete.

    Args:
        path: The file; made with its folders. An older one is replaced.
        told: What `record` returned.

    Raises:
        OSError: It could not be written, as the OutputError that names the cure; an
            older file is as it was. On this rank only.
    """
    files.write_json(path, told)


def keep(
    settings: BenchmarkSettings,
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
    told = record(
        kind,
        figures=figures,
        settings=settings.model_dump(exclude={"run_name", "runs_dir", "json_path"}),
        num_ranks=ranks.world_size,
    )
    told["environment"]["device"] = ranks.device.type
    named = pathlib.Path(settings.json_path) if settings.json_path else None
    for path in (always, named):
        if path is not None:
            write(path, told)


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
        told = files.read_json(path)
    except (OSError, ValueError) as error:
        _refuse(path, f"it cannot be read ({error})")
    if not isinstance(told, dict):
        _refuse(path, "it holds no table")
    for name, expected in NEEDED.items():
        if type(told.get(name)) is not expected:
            _refuse(path, f"{name!r} is missing or no {expected.__name__}")
    if told["schema"] != SCHEMA:
        _refuse(path, f"its schema is {told['schema']}, this version reads {SCHEMA}")
    if kind is not None and told["kind"] != kind:
        _refuse(path, f"it is a measurement of {told['kind']!r}, not of {kind!r}")
    if not all(math.isfinite(number) for number in _numbers(told["figures"])):
        _refuse(path, "a figure is not finite")
    return told


def hardware(told: dict[str, Any]) -> dict[str, Any]:
    """Say on what a record was measured.

    Args:
        told: A record.

    Returns:
        Processor, cores, GPUs, and which of them computed.

    Examples:
        >>> hardware({"environment": {"cpu": "x", "num_cores": 2, "memory_bytes": 5}})
        {'cpu': 'x', 'num_cores': 2, 'gpus': None, 'device': 'cpu'}
    """
    found = {name: told["environment"].get(name) for name in HARDWARE}
    return found | {"device": told["environment"].get("device", "cpu")}


def check_comparable(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Refuse to compare what was measured on different hardware.

    Args:
        one: A record.
        other: Another.

    Raises:
        ResultError: They are from different hardware, or of different kinds.
    """
    if one["kind"] != other["kind"]:
        raise ResultError(
            f"one file measures {one['kind']!r}, the other {other['kind']!r}.",
            why="their numbers mean different things.",
            fix="compare two files of one kind.",
            page="benchmark-files",
        )
    if hardware(one) != hardware(other):
        raise ResultError(
            f"the files are from different hardware: {hardware(one)} and "
            f"{hardware(other)}.",
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
    told = read(path)
    commit = told["commit"]
    if len(commit) != 40:
        _refuse(path, f"its commit is {commit!r}: nobody could check out what was run")
    rows = {n: r for n, r in told["figures"].items() if isinstance(r, dict)}
    untimed = [name for name, row in rows.items() if not _median_ms(row)]
    if untimed or not rows:
        _refuse(path, f"no time in {', '.join(untimed) or 'it'}")
    busy = [name for name, row in rows.items() if row.get("noisy")]
    if busy and not noisy:
        _refuse(path, f"the machine was too noisy while it timed {', '.join(busy)}")
    few = [n for n, r in rows.items() if len(r.get("all_ms") or []) < FEWEST_ROUNDS]
    if few:
        _refuse(path, f"{', '.join(few)}: fewer than {FEWEST_ROUNDS} rounds")
    return told


def _median_ms(row: dict[str, Any]) -> float | None:
    """A row's time; None for what is none."""
    ms = row.get("median_ms")
    return float(ms) if isinstance(ms, int | float) and ms > 0 else None


def _numbers(value: Any) -> list[float]:
    """Every number in nested plain values."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, int | float) else []


def _commit() -> str:
    """The commit of this checkout, with "+" if files differ; "unknown" without git."""
    library = checkout.ROOT / "distrinews"
    told = []
    for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "."]):
        try:
            done = subprocess.run(
                ["git", "-C", str(library), *words],
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return "unknown"
        told.append(done.stdout.strip())
    return told[0] + "+" * bool(told[1])


def compare(path: pathlib.Path, other_path: pathlib.Path) -> list[list[str]]:
    """Set two measurements of the same kind and hardware side by side.

    Args:
        path: A record whose figures have a `median_ms` each.
        other_path: Another.

    Returns:
        Lines of a table: name, milliseconds of both, the second by the first; "noisy"
        where a machine was too busy for the ratio to mean much.

    Raises:
        ResultError: One is damaged, they are from different hardware or of different
            kinds, or have no figure in common. On this rank only.
    """
    one, other = read(path), read(other_path)
    check_comparable(one, other)
    lines = [["figure", path.name, other_path.name, "ratio"]]
    for name, row in one["figures"].items():
        pair = [r for r in (row, other["figures"].get(name)) if isinstance(r, dict)]
        times = [ms for ms in map(_median_ms, pair) if ms]
        if len(times) == 2:
            noisy = any(r.get("noisy") for r in pair)
            ratio = f"{times[1] / times[0]:.2f}x" + " (noisy)" * noisy
            lines.append([name, *(f"{ms:.1f} ms" for ms in times), ratio])
    if len(lines) == 1:
        _refuse(other_path, f"it has no timed figure in common with {path.name}")
    return lines


def _refuse(path: pathlib.Path, reason: str) -> NoReturn:
    raise ResultError(
        f"{path} is not usable as a file of measurements: {reason}.",
        why="numbers without their origin prove nothing.",
        fix="measure again, with --json PATH; committed files lie in "
        "site_docs/benchmarks/results.",
        page="benchmark-files",
    )
