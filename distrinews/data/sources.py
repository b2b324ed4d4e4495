"""Where the rows come from: written here, the Hub's AG News, or your own files.

Promise: three origins, one interface. Ask a source for rows and you get the same rows
for the same arguments, one at a time in flat memory; its fingerprint names them, so a
cache made from them can be found again.

Rows come in the order of their file, which may be sorted by class: shuffling is the
sampler's work, every epoch anew.

Not here: the invented news itself (`distrinews.data.newswire`), rows from files and
from the Hub (`distrinews.data.file_sources`), tokens (`distrinews.data.tokenised`).
Guide: reference/data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from distrinews.data import newswire
from distrinews.data.file_sources import FileSource, HubSource, check_request, digest
from distrinews.data.labels import Row
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
    """

    @property
    def name(self) -> str: ...  # noqa: D102 - see Attributes

    @property
    def description(self) -> str: ...  # noqa: D102 - see Attributes

    def check(self) -> None:
        """Find out before any process starts whether rows can be had.

        Raises:
            DataError: A file is missing or malformed.
            HubUnreachableError: Nothing cached and no Hub; within 10 seconds.
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


def open_source(data: str, *, repaired: bool = True) -> Source:
    """Turn the value of `--data` into a source of rows.

    Args:
        data: `"newswire"`, `"ag_news"`, a CSV file (plain or `.gz`), or a folder with
            `train.csv` and `test.csv` (plain or `.gz`) or with parquet files as on
            the Hub. A single file serves both splits; see `FileSource`.
        repaired: Pass texts through `cleaning.repair`. False shows them as they are.

    Returns:
        The source. Nothing is read yet: call its `check`.

    Raises:
        DataError: Neither a known name nor an existing path.

    Examples:
        >>> source = open_source("newswire")
        >>> len(list(source.rows("test", num_rows=8, seed=0)))
        8
    """
    if data == "newswire":
        return NewswireSource()
    if data == "ag_news":
        return HubSource("ag_news", repaired=repaired)
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
    return FileSource(data, repaired=repaired)


@dataclass(frozen=True)
class NewswireSource:
    """Stories written by this library: any number, no download, no licence question."""

    name: str = "newswire"
    description: str = (
        "newswire: invented news, written by this library (generator version "
        f"{newswire.GENERATOR_VERSION}); MIT"
    )

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
