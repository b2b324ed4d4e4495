"""Where the rows come from: written here, the Hub's AG News, or your own files.

Promise: three origins, one interface. Ask a source for rows and you get the same rows
for the same arguments, one at a time in flat memory; its fingerprint names them, so a
cache made from them can be found again.

Rows come in the order of their file, which may be sorted by class: shuffling is the
sampler's work, again in every epoch.

Not here: the invented news itself (`distrinews.data.newswire`), rows from files and
from the Hub (`distrinews.data.file_sources`), tokens (`distrinews.data.tokenised`).
Guide: reference/data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from distrinews.data import newswire
from distrinews.data.columns import ColumnsWanted
from distrinews.data.file_sources import FileSource, HubSource, check_request, digest
from distrinews.data.labels import LABEL_NAMES, Row
from distrinews.errors import DataError

__all__ = [
    "SOURCE_NAMES",
    "NewswireSource",
    "Row",
    "Source",
    "open_source",
]

SOURCE_NAMES = ("newswire", "ag_news")  # anything else is a path


class Source(Protocol):
    """An origin of labelled rows.

    Attributes:
        name: `"newswire"`, `"ag_news"`, or the path as given.
        description: One line for the log and the saved run: what, origin, licence.
        card_description: The same for a model card, which others will read: no path.
        licence: What a model made from the rows may be given on under; None where
            nobody here can know.
        form: How a file was read: format and columns; empty for news.
        class_names: What the classes are called, in the order of their numbers. Rows
            from a file may have to be read for it; of these, `check` reports faults.
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see Attributes

    @property
    def description(self) -> str: ...  # noqa: D102 - see Attributes

    @property
    def card_description(self) -> str: ...  # noqa: D102 - see Attributes

    @property
    def licence(self) -> str | None: ...  # noqa: D102 - see Attributes

    @property
    def form(self) -> str: ...  # noqa: D102 - see Attributes

    @property
    def class_names(self) -> tuple[str, ...]: ...  # noqa: D102 - see Attributes

    def check(self) -> None:
        """Find out before any process starts whether rows can be had; download them.

        Raises:
            DataError: A file is missing or malformed.
            HubUnreachableError: Nothing cached and no Hub, within 10 seconds; or the
                download broke off.
        """

    def fingerprint(self, split: str, *, num_rows: int | None, seed: int) -> str:
        """Name the rows that `rows` would give for the same arguments.

        Args:
            split: `"train"` or `"test"`.
            num_rows: As for `rows`.
            seed: As for `rows`.

        Returns:
            64 hexadecimal digits. Two equal fingerprints mean the same rows.
        """

    def rows(self, split: str, *, num_rows: int | None, seed: int) -> Iterator[Row]:
        """Stream the rows of a split.

        Args:
            split: `"train"` or `"test"`.
            num_rows: How many; None for all there are.
            seed: Another seed gives another sample.

        Returns:
            The rows, in the order of their file.

        Raises:
            DataError: Malformed rows, fewer rows than asked for, or a single class
                among them. Raised by this call, not by the first `next`.
        """


def open_source(
    data: str,
    *,
    repaired: bool = True,
    wanted: ColumnsWanted | None = None,
    model_classes: Sequence[str] | None = None,
) -> Source:
    """Turn the value of `--data` into a source of rows.

    Args:
        data: `"newswire"`, `"ag_news"`, a file (CSV, JSON lines, parquet), or a folder
            with one for each split, with parquet files, or saved by `datasets`. A
            single file serves both splits; see `FileSource`.
        repaired: Pass texts through `cleaning.repair`. False shows them as they are.
        wanted: Which columns of a file to read; None: find them by their names.
        model_classes: Number the labels as a model does; None: by the data alone.

    Returns:
        The source. Nothing is read yet: call its `check`.

    Raises:
        DataError: Neither a known name nor an existing path, or known classes that the
            model does not have.

    Examples:
        >>> source = open_source("newswire")
        >>> len(list(source.rows("test", num_rows=8, seed=0)))
        8
    """
    classes = None if model_classes is None else tuple(model_classes)
    if data in SOURCE_NAMES:
        _check_news(data, classes)
        if data == "newswire":
            return NewswireSource()
        return HubSource("ag_news", repaired, model_classes=classes or LABEL_NAMES)
    # WHY os-level errors count as "no": a name with a NUL or 5,000 characters is none.
    try:
        exists = bool(data) and Path(data).exists()
    except (OSError, ValueError):
        exists = False
    if not exists:
        raise DataError(
            f"--data {data[:200]!r} is neither a known name nor an existing path.",
            why="there is nothing to read.",
            fix=f"use {' or '.join(SOURCE_NAMES)}, or check the path; it starts from "
            f"{Path.cwd()}.",
            page="bad-data",
        )
    return FileSource(data, repaired, wanted or ColumnsWanted(), classes)


def _check_news(data: str, model_classes: tuple[str, ...] | None) -> None:
    """Refuse to judge a model of other classes by news."""
    if model_classes is None or model_classes == LABEL_NAMES:
        return
    raise DataError(
        f"the classes of {data} are {', '.join(LABEL_NAMES)}; the model's are "
        f"{', '.join(model_classes):.200}.",
        why="every answer would count as wrong.",
        fix="use rows of the model's classes (a chapter: --data).",
        page="bad-data",
    )


@dataclass(frozen=True)
class NewswireSource:
    """Stories written by this library: any number, no download, no licence question."""

    name: str = "newswire"
    description: str = (
        "newswire: invented news, written by this library (generator version "
        f"{newswire.GENERATOR_VERSION}); MIT"
    )
    licence: str | None = "mit"
    form: str = ""
    class_names: tuple[str, ...] = LABEL_NAMES

    @property
    def card_description(self) -> str:
        """The same for a model card."""
        return self.description

    def check(self) -> None:
        """Nothing can be missing."""

    def fingerprint(self, split: str, *, num_rows: int | None, seed: int) -> str:
        """Name the rows: generator version and arguments."""
        check_request(split, num_rows)
        return digest("newswire", newswire.GENERATOR_VERSION, split, num_rows, seed)

    def rows(self, split: str, *, num_rows: int | None, seed: int) -> Iterator[Row]:
        """Write `num_rows` stories, one at a time.

        Args:
            split: `"train"` or `"test"`; they never share a text.
            num_rows: How many; it must be a number.
            seed: Another seed gives other stories.

        Returns:
            The rows.

        Raises:
            DataError: `num_rows` is None, or smaller than 1.
        """
        check_request(split, num_rows)
        if num_rows is None:
            raise DataError(
                "newswire was asked for all its rows.",
                why="it writes as many as you like; there is no last one.",
                fix="pass a number of rows.",
                page="bad-data",
            )
        return newswire.stories(num_rows, seed=seed, split=split)
