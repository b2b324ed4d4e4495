"""Read labelled rows from parquet files and from data sets saved by `datasets`.

Promise: files are read batch by batch, in flat memory; whatever is wrong with them ends
in one `DataError` that names split, row and cure.

The form: a column of text and one of labels, found by their names. Where the file says
what its label numbers are called (`datasets.ClassLabel`), those names are used.

Not here: downloads (`distrinews.system.hub`), CSV (`distrinews.data.csv_rows`), which
rows are taken (`distrinews.data.file_sources`).
Guide: reference/data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pyarrow
from pyarrow import parquet

from distrinews.data import conversion
from distrinews.data.columns import (
    Columns,
    ColumnsWanted,
    FileRow,
    FileRows,
    choose,
    refuse,
)
from distrinews.data.csv_rows import (
    check_kind,
    checked_text,
    reject,
    reject_label,
    short_repr,
    translate_read_errors,
)
from distrinews.data.labels import label_name
from distrinews.errors import DataError
from distrinews.system import console

__all__ = ["read_parquet", "read_saved", "saved_files"]

Records = Iterator[tuple[object, ...]]  # texts, then the label


def read_parquet(
    paths: list[Path], *, split: str, wanted: ColumnsWanted | None = None
) -> FileRows:
    """Open the parquet files of one split and stream their rows.

    Args:
        paths: The split's files, in order.
        split: Its name, for messages.
        wanted: Which columns to read; None: find them by name.

    Returns:
        The rows, read one by one, as they stand in the files.

    Raises:
        DataError: Damaged, another kind of file, no text or label among the columns;
            while rows are taken: a row without text or label. On this rank only.

    Note:
        Cost: about 2 microseconds a row and one batch of 1,000 rows of memory.
    """
    for path in paths:
        with translate_read_errors(path), path.open("rb") as file:
            head = file.read(24)
        if not head.startswith(b"PAR1"):
            check_kind(head, path, expected="parquet")
    try:
        schema = parquet.read_schema(paths[0])
    except (OSError, pyarrow.ArrowException) as error:
        _cannot_read(str(paths[0]), error)
    return _opened(paths, schema, _parquet_records, split, wanted)


def saved_files(folder: Path) -> list[Path]:
    """List the data files of a data set that `datasets` saved to disk.

    Args:
        folder: Made by `Dataset.save_to_disk`; it holds `state.json`.

    Returns:
        Its Arrow files, in order.

    Raises:
        DataError: `state.json` cannot be read.
    """
    try:
        state = json.loads((folder / "state.json").read_text("utf-8"))
        return [folder / entry["filename"] for entry in state["_data_files"]]
    except (OSError, LookupError, TypeError, ValueError) as error:
        _cannot_read(f"{folder}, a data set saved by datasets", error)


def read_saved(paths: list[Path], *, split: str, wanted: ColumnsWanted) -> FileRows:
    """Open a data set that `datasets` saved to disk and stream its rows.

    Args:
        paths: As `saved_files` lists them.
        split: Its name, for messages.
        wanted: Which columns to read.

    Returns:
        The rows, read one by one.

    Raises:
        DataError: As `read_parquet`.
    """
    try:
        with pyarrow.memory_map(str(paths[0])) as file:
            schema = pyarrow.ipc.open_stream(file).schema
    except (OSError, pyarrow.ArrowException) as error:
        _cannot_read(f"{paths[0]}, a data set saved by datasets", error)
    return _opened(paths, schema, _saved_records, split, wanted)


def _opened(
    paths: list[Path],
    schema: pyarrow.Schema,
    read: Callable[[list[Path], Columns], Records],
    split: str,
    wanted: ColumnsWanted | None,
) -> FileRows:
    """Choose the columns, and prepare to read."""
    name = str(paths[0] if len(paths) == 1 else paths[0].parent)
    wanted = wanted or ColumnsWanted()
    columns = choose(schema.names, wanted)
    if columns is None:
        refuse(schema.names, wanted, what=f"no text and label are recognised in {name}")
    class_names = _class_names(schema, columns.label, name)
    records = read(paths, columns)
    form = (
        f"{console.counted(len(paths), 'Arrow or parquet file')}; {columns.description}"
    )
    # WHY without the split where there is one file: it may serve both.
    where = f"of {name}" if len(paths) == 1 else f"of {split!r} in {name}"
    rows = _rows(records, class_names, where)
    return FileRows(rows, class_names, form)


def _parquet_records(paths: list[Path], columns: Columns) -> Records:
    """The texts and the label of each record, unchecked."""
    # WHY pyarrow and not `datasets`, which reads with it: `datasets` first copies all
    # rows to HF_HOME, takes 1 s to import, and its streaming mode left threads behind
    # that aborted the program at its end (datasets issue #7566).
    keys = [*columns.texts, columns.label]
    for path in paths:
        try:
            # WHY: both defaults read whole columns of a row group, often of all rows.
            with parquet.ParquetFile(path, buffer_size=2**18, pre_buffer=False) as file:
                _check_columns(file.schema_arrow, keys, path)
                for batch in file.iter_batches(1000, columns=keys, use_threads=False):
                    yield from _batch_records(batch, keys)
        except (OSError, pyarrow.ArrowException) as error:
            _cannot_read(str(path), error)


def _saved_records(paths: list[Path], columns: Columns) -> Records:
    """The same from Arrow's stream format, which `datasets` maps into memory."""
    keys = [*columns.texts, columns.label]
    for path in paths:
        try:
            with pyarrow.memory_map(str(path)) as file:
                stream = pyarrow.ipc.open_stream(file)
                _check_columns(stream.schema, keys, path)
                for batch in stream:
                    yield from _batch_records(batch, keys)
        except (OSError, pyarrow.ArrowException) as error:
            _cannot_read(str(path), error)


def _check_columns(schema: pyarrow.Schema, keys: list[str], path: Path) -> None:
    """Refuse a file without the columns that the first one of its split has."""
    if missing := [key for key in keys if key not in schema.names]:
        reject(
            f"{path} has no column {', '.join(map(repr, missing))}; its columns are "
            f"{', '.join(map(repr, schema.names[:20]))}.",
            why="the first file of the split has it, and all are read the same way.",
            fix="write the files of a split with the same columns.",
        )


def _batch_records(batch: pyarrow.RecordBatch, keys: list[str]) -> Records:
    for start in range(0, len(batch), 1000):
        part = batch.slice(start, 1000)
        yield from zip(*(part[key].to_pylist() for key in keys), strict=True)


def _rows(
    records: Records, class_names: tuple[str, ...] | None, where: str
) -> Iterator[FileRow]:
    first: tuple[str, conversion.Damage] | None = None
    num_spoilt = 0
    for number, (*texts, value) in enumerate(records, start=1):
        location = f"row {number} {where}"
        for text in texts:
            if not isinstance(text, str):
                reject(
                    f"{location} has no text but {short_repr(text)}.",
                    why="there is nothing to read.",
                    fix="delete the row, or store text as strings.",
                )
        label = label_name(value)
        if class_names is not None:
            label = _named(value, class_names, location)
        if label is None:
            reject_label(location, value)
        text = checked_text(" ".join(map(str, texts)), location=location)
        if found := conversion.find(text) or conversion.find(label):
            first = first or (location, found[0])
            num_spoilt += 1
        yield FileRow(text, label, location)
    # WHY no error, as in a file of text: no command converts parquet back, and the rest
    # of the text can be read.
    if first is not None:
        location, damage = first
        conversion.warn_once(
            f"{location} holds {damage.sign}: {damage.cause}. Of such rows there are "
            f"{num_spoilt}; they are read as they are."
        )


def _named(value: object, class_names: tuple[str, ...], location: str) -> str:
    """The name that the file gives to a label number."""
    # WHY type() and not isinstance: True is an int too, and would pass for class 1.
    if type(value) is not int or not 0 <= value < len(class_names):
        reject(
            f"{location} has label {short_repr(value)}, expected 0 to "
            f"{len(class_names) - 1}.",
            why="the file names its classes, and this is none of them; -1 and None "
            "mark rows without a label.",
            fix="delete the row, or use the numbers of "
            f"{', '.join(class_names)[:200]}.",
        )
    return class_names[value]


def _class_names(
    schema: pyarrow.Schema, label: str, path: str
) -> tuple[str, ...] | None:
    """The names of the labels, where the file says them, as a CSV file's are read."""
    # WHY: `label` 2 means what the file says it means; with other names, training would
    # work and every printed class would be wrong.
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        stored = [str(name) for name in features[label]["names"]]
    except (LookupError, TypeError, ValueError):
        return None  # most writers of parquet name no labels
    # WHY as in a CSV file: "01" is the class "1" there, and a model that was trained on
    # one file is to be judged by the other.
    names = [label_name(name) or "" for name in stored]
    if "" in names or len(set(names)) < len(names):
        reject(
            f"{path} calls its classes {', '.join(map(repr, stored)):.200}.",
            why="two of them are called the same, or one has no name: their answers "
            "could not be distinguished.",
            fix="give each class a different name, and write the file again.",
        )
    return tuple(names)


def _cannot_read(what: str, error: Exception) -> NoReturn:
    raise DataError(
        f"cannot read {what}: {error}.",
        why="without its rows there is nothing to train with.",
        fix="write or download it again, or take the built-in rows (a chapter: "
        "--data newswire).",
        page="bad-data",
    ) from error
