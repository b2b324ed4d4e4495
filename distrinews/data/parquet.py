"""Read labelled rows from parquet files in the form of the Hugging Face Hub.

Promise: the rows come through the `datasets` library, in flat memory; whatever is
wrong with them ends in one `DataError` that names split, row and cure.

The form: columns `text` and `label`, labels 0 to 3 in the order of `LABEL_NAMES`.

Not here: downloads (`distrinews.system.hub`), CSV (`distrinews.data.csv_rows`), which
rows are taken (`distrinews.data.file_sources`).
Guide: reference/data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distrinews.data.csv_rows import Row, checked_text, reject, short_repr
from distrinews.data.labels import LABEL_NAMES
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
        Cost: about 2 microseconds a row and one batch of 1,000 rows of memory, after
        1 s for importing `datasets`. The first time 9 more, for a copy of the rows
        under HF_HOME that later readings map into memory.
    """
    name = str(paths[0].parent)
    table = _load(paths, split, name)
    _check_columns(table.features, name)
    number = 0
    for batch in table.iter(batch_size=1000):
        for text, label in zip(batch["text"], batch["label"], strict=True):
            number += 1
            yield _checked_row(text, label, f"row {number} of {split!r} in {name}")


def _load(paths: list[Path], split: str, name: str) -> Any:
    """The split as a memory-mapped `datasets.Dataset`."""
    import datasets
    import pyarrow
    from datasets.exceptions import DatasetsError

    bars_enabled = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # half a second needs none
    try:
        # WHY not streaming=True, which needs no copy: pyarrow's reading threads then
        # live to the end of the program and, in 2 runs of 46, aborted it there
        # (datasets issue #7566, seen with datasets 5.2, pyarrow 26). Till it is closed.
        # WHY not load_dataset("parquet"): it first reports its use to a server, and
        # waits up to 3 s for the answer, also where all files are local.
        files = [str(path) for path in paths]
        return datasets.Dataset.from_parquet(files, split=datasets.NamedSplit(split))
    except (OSError, ValueError, pyarrow.ArrowException, DatasetsError) as error:
        raise DataError(
            f"cannot read the parquet files of split {split!r} in {name}: "
            f"{error.__cause__ or error}.",
            why="without its rows there is nothing to train with.",
            fix="download the folder again; point HF_HOME to a folder that you may "
            "write to; or use --data newswire.",
            page="bad-data",
        ) from error
    finally:
        if bars_enabled:
            datasets.enable_progress_bars()


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


def _check_columns(features: Mapping[str, object], name: str) -> None:
    missing = {"text", "label"} - set(features)
    if missing:
        reject(
            f"the parquet files in {name} lack the column(s) {sorted(missing)}.",
            why="a row is a text and its label.",
            fix="name the columns text and label.",
        )
    # WHY: `label` 2 means what the file says it means; with other names in it, training
    # would work and every printed class would be wrong.
    names = getattr(features["label"], "names", None)
    if names is not None and tuple(names) != LABEL_NAMES:
        reject(
            f"the parquet files in {name} name their labels {list(names)}.",
            why=f"this course's labels are {list(LABEL_NAMES)}, in this order.",
            fix="rename or reorder the labels when you write the files.",
        )
