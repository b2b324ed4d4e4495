"""Read labelled rows from JSON lines: one object per line, its keys are the columns.

Promise: as `distrinews.data.csv_rows`: read once, in flat memory, and every fault is a
`DataError` that names file, line and cure.

Guide: reference/data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distrinews.data.columns import (
    Columns,
    ColumnsWanted,
    FileRow,
    FileRows,
    choose,
    refuse,
)
from distrinews.data.csv_rows import (
    ARRAY_FIX,
    check_conversion,
    checked_text,
    lines,
    open_bytes,
    reject,
    reject_label,
    short_repr,
    translate_read_errors,
)
from distrinews.data.labels import label_name
from distrinews.system import shell

__all__ = ["read_json_lines"]


def read_json_lines(path: Path, *, wanted: ColumnsWanted) -> FileRows:
    """Open a file of JSON lines and stream its rows.

    Args:
        path: A UTF-8 file, packed with gzip if its name ends in `.gz`. The keys of its
            first object say which columns there are. Empty lines are skipped.
        wanted: Which columns to read.

    Returns:
        The rows, read one by one.

    Raises:
        DataError: Unreadable, or no text and label among the keys; while rows are
            taken: a line that is no object or lacks a column. On this rank only.
    """
    first = next(_objects(path), None)
    if first is None:
        return FileRows(iter(()), None, "JSON lines")
    header = list(first[1])
    columns = choose(header, wanted)
    if columns is None:
        refuse(header, wanted, what=f"{first[0]}: no text and label were recognised")
    form = f"JSON lines; {columns.description}"
    return FileRows(_rows(path, columns), None, form)


def _rows(path: Path, columns: Columns) -> Iterator[FileRow]:
    is_warned = False
    for location, record in _objects(path):
        texts = [_text(record.get(name), name, location) for name in columns.texts]
        label = label_name(record.get(columns.label))
        if label is None:
            reject_label(location, record.get(columns.label))
        text = " ".join(texts)
        is_warned = is_warned or check_conversion(path, location, label, text)
        yield FileRow(checked_text(text, location=location), label, location)


def _text(value: object, name: str, location: str) -> str:
    if not isinstance(value, str):
        reject(
            f"{location} has no text in {name!r} but {short_repr(value)}.",
            why="there is nothing to read.",
            fix=_TABLE_FIX
            if isinstance(value, dict)
            else "write a string there, or delete the row.",
        )
    return value


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object, with file and line."""
    with translate_read_errors(path), open_bytes(path) as file:
        for number, line in enumerate(lines(file, path), start=1):
            if not line.strip():
                continue
            location = f"line {number} of {path}"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                reject(
                    f"{location} is no JSON object: {error}.",
                    why="each line must be one object, complete in itself.",
                    fix=_fix(line, is_first=number == 1),
                )
            if not isinstance(record, dict):
                reject(
                    f"{location} is no JSON object but {short_repr(record)}.",
                    why="each line must be one object with a text and a label.",
                    fix=_fix(line, is_first=isinstance(record, list)),
                )
            yield location, record


_TABLE_FIX = (
    'one object per row; in pandas: df.to_json(path, orient="records", lines=True).'
)


# Between two objects stands a line end that is no part of a text: JSON escapes those.
_LINES_COMMAND = shell.rewrite_file(
    "old.json",
    "new.jsonl",
    r"b''.join(json.dumps(row).encode() + b'\n' for row in json.loads("
    r"b'[' + re.sub(rb'}\s*\n\s*{', b'},{', old) + b']'))",
    modules="json, re",
)


def _fix(line: str, *, is_first: bool) -> str:
    """The cure of a line that is no object; the first one shows a whole file's form."""
    if is_first and line.lstrip().startswith("["):
        return ARRAY_FIX
    if is_first and line.strip() == "{":
        return f"one object per line: {_LINES_COMMAND}"
    return "repair or delete the line."
