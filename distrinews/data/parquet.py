"""Read labelled rows from parquet files in the form of the Hugging Face Hub.

Promise: a file is read batch by batch, in flat memory; whatever is wrong with it ends
in one `DataError` that names split, row and cure.

The form: columns `text` and `label`, labels 0 to 3 in the order of `LABEL_NAMES`.

Not here: downloads (`distrinews.system.hub`), CSV (`distrinews.data.csv_rows`), which
rows are taken (`distrinews.data.file_sources`).
Guide: reference/data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow
from pyarrow import parquet

from distrinews.data.csv_rows import checked_text, reject, short_repr
from distrinews.data.labels import LABEL_NAMES, Row
from distrinews.errors import DataError

__all__ = ["read_parquet"]


def read_parquet(paths: list[Path], *, split: str) -> Iterator[Row]:
    """Stream the rows of one split.

    Args:
        paths: The split's files, in order.
        split: Its name, for messages.

    Yields:
        One row for each record, as it stands in the file.

    Raises:
        DataError: Damaged, other columns, other labels. On this rank only.

    Note:
        Cost: about 2 microseconds a row and one batch of 1,000 rows of memory.
    """
    name = str(paths[0].parent)
    records = _records(paths, split, name)
    for number, (text, label) in enumerate(records, start=1):
        yield _checked_row(text, label, f"row {number} of {split!r} in {name}")


def _records(paths: list[Path], split: str, name: str) -> Iterator[tuple[object, ...]]:
    """The text and the label of each record, unchecked."""
    # WHY pyarrow and not `datasets`, which reads with it: `datasets` first copies all
    # rows to HF_HOME, takes 1 s to import, and its streaming mode left threads behind
    # that aborted the program at its end (datasets issue #7566).
    try:
        for path in paths:
            # WHY: both defaults read whole columns of a row group, often of all rows.
            with parquet.ParquetFile(path, buffer_size=2**18, pre_buffer=False) as file:
                _check_columns(file.schema_arrow, name)
                for batch in file.iter_batches(
                    1000, columns=["text", "label"], use_threads=False
                ):
                    columns = batch["text"].to_pylist(), batch["label"].to_pylist()
                    yield from zip(*columns, strict=True)
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"cannot read the parquet files of split {split!r} in {name}: {error}.",
            why="without its rows there is nothing to train with.",
            fix="download the folder again, or use --data newswire.",
            page="bad-data",
        ) from error


def _checked_row(text: object, label: object, location: str) -> Row:
    if not isinstance(text, str):
        reject(
            f"{location} has no text but {short_repr(text)}.",
            why="there is nothing to read.",
            fix="delete the row, or store text as strings.",
        )
    # WHY type() and not isinstance: True is an int too, and would pass for "Sports".
    if type(label) is not int or not 0 <= label < len(LABEL_NAMES):
        reject(
            f"{location} has label {short_repr(label)}, expected 0 to 3.",
            why="a label that no class has cannot be learned or scored.",
            fix=f"use 0 to 3 for {', '.join(LABEL_NAMES)}.",
        )
    return Row(checked_text(text, location=location), label)


def _check_columns(schema: pyarrow.Schema, name: str) -> None:
    missing = [key for key in ("label", "text") if schema.names.count(key) != 1]
    if missing:
        reject(
            f"the parquet files in {name} lack the column(s) {missing} or repeat them.",
            why="a row is a text and its label.",
            fix="name the columns text and label.",
        )
    # WHY: `label` 2 means what the file says it means; with other names in it, training
    # would work and every printed class would be wrong.
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        names = features["label"]["names"]
    except (LookupError, TypeError, ValueError):
        return  # most writers of parquet name no labels
    if tuple(names) != LABEL_NAMES:
        reject(
            f"the parquet files in {name} name their labels {names}.",
            why=f"this course's labels are {list(LABEL_NAMES)}, in this order.",
            fix="rename or reorder the labels when you write the files.",
        )
