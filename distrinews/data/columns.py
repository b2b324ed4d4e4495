"""Choose the columns of a file that hold the text and the label.

Promise: columns are found by name where the names are usual ones, or as you say; where
they cannot be told, the error lists the columns that there are.

Not here: how columns are read from a file (`distrinews.data.csv_rows`,
`distrinews.data.json_rows`, `distrinews.data.arrow_rows`).
Guide: reference/data.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from distrinews.errors import DataError

__all__ = [
    "LABEL_COLUMNS",
    "TEXT_COLUMNS",
    "Columns",
    "ColumnsWanted",
    "FileRow",
    "FileRows",
    "choose",
    "refuse",
]

# Names by which a column is found without a flag, in lower case.
LABEL_COLUMNS = (
    *("label", "labels", "class", "class index", "class_index"),
    *("category", "target"),
)
TEXT_COLUMNS = (
    *("title", "headline", "text", "description", "content"),
    *("sentence", "message", "body", "review", "comment"),
)


class FileRow(NamedTuple):
    """A row as it stands in a file: text, name of its label, and where it stands."""

    text: str
    label: str
    location: str


@dataclass(frozen=True)
class FileRows:
    """A file, opened.

    Attributes:
        rows: Its rows, read one by one.
        class_names: In the order of their numbers, where the file or its form says
            them; None where the labels that occur are all that is known.
        form: What was recognised, for the summary before training.
    """

    rows: Iterator[FileRow]
    class_names: tuple[str, ...] | None
    form: str


@dataclass(frozen=True)
class ColumnsWanted:
    """What was asked for on the command line.

    Args:
        text: Names of columns, with commas between them, or their places, from 1, in a
            CSV file without a header; None: find them by their names.
        label: Likewise, one column.
    """

    text: str | None = None
    label: str | None = None

    @property
    def texts(self) -> tuple[str, ...]:
        """The text columns by themselves; empty if none was named."""
        return tuple(name.strip() for name in (self.text or "").split(",") if name)

    @property
    def are_places(self) -> bool:
        """Whether columns are given by place: the file has no header."""
        names = [*self.texts, *([self.label] if self.label else [])]
        return bool(self.texts and self.label) and all(map(str.isdecimal, names))


@dataclass(frozen=True)
class Columns:
    """Where text and label stand.

    Attributes:
        texts: Names of the columns whose texts are joined with a blank.
        label: Name of the column that holds the label.
        text_places: Their places in a record, from 0.
        label_place: Likewise.
    """

    texts: tuple[str, ...]
    label: str
    text_places: tuple[int, ...]
    label_place: int

    @property
    def description(self) -> str:
        """Which columns are read, for the summary before training."""
        texts = " + ".join(map(str.strip, self.texts))
        return f"text from {texts}, label from {self.label.strip()}"


def choose(header: Sequence[str], wanted: ColumnsWanted) -> Columns | None:
    """Find the columns of a text and a label by their names.

    Args:
        header: The names of all columns.
        wanted: What was asked for.

    Returns:
        The columns; None if there is no label column, no text column, a column that
        was asked for is missing or stands twice, or two could be the label.

    Examples:
        >>> choose(["label", "text"], ColumnsWanted()).description
        'text from text, label from label'
        >>> choose(["id", "note"], ColumnsWanted()) is None
        True
    """
    keys = [_key(name) for name in header]
    if wanted.label is not None:
        labels = [k for k, key in enumerate(keys) if key == _key(wanted.label)]
    else:
        labels = [k for k, key in enumerate(keys) if key in LABEL_COLUMNS]
    if wanted.texts:
        asked = [_key(name) for name in wanted.texts]
        texts = [keys.index(key) for key in asked if keys.count(key) == 1]
        is_complete = len(texts) == len(asked)
    else:
        texts = [k for k, key in enumerate(keys) if key in TEXT_COLUMNS]
        texts = [k for k in texts if k not in labels]
        is_complete = len({keys[k] for k in texts}) == len(texts) > 0
    if len(labels) != 1 or not is_complete or labels[0] in texts:
        return None
    names = tuple(header[k] for k in texts)
    return Columns(names, header[labels[0]], tuple(texts), labels[0])


def refuse(header: Sequence[str], wanted: ColumnsWanted, *, what: str) -> NoReturn:
    """Raise a DataError that lists the columns there are.

    Args:
        header: Their names.
        wanted: What was asked for.
        what: The file, and what was looked for in vain.

    Raises:
        DataError: Always.
    """
    there = ", ".join(repr(name.strip()[:40]) for name in header[:20])
    asked = [*wanted.texts, *([wanted.label] if wanted.label else [])]
    missing = [name for name in asked if _key(name) not in map(_key, header)]
    hint = f" It has no column {', '.join(map(repr, missing))}." if missing else ""
    raise DataError(
        f"{what}: its columns are {there or 'none'}.{hint}",
        why="a row is a text and its label, each in its own column, whose name "
        "appears once.",
        fix="name the columns of the text and of the label, from this list (a chapter: "
        "--text-columns NAME[,NAME] --label-column NAME). In a CSV file without a "
        "header give the numbers of the columns (a chapter: --text-columns 2 "
        "--label-column 1).",
        page="bad-data",
    ) from None


def _key(name: str) -> str:
    """A column's name as it is compared."""
    return unicodedata.normalize("NFC", name).strip().lower()
