"""Read labelled rows from CSV and parquet files; name the line of every fault.

Promise: a file is read once from front to back in flat memory, and whatever is wrong
with it ends in one `DataError` that names file, line and cure. Neither `csv.Error`
nor `UnicodeDecodeError` gets out.

The CSV form is AG News' own: `class,title,description` with classes 1 to 4. The
parquet form is the Hub's: columns `text` and `label` with labels 0 to 3.

Not here: which rows are taken (`distrinews.sources`), repairs (`distrinews.cleaning`).
Guide: reference/data.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import zlib
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, NoReturn, cast

from distrinews.cleaning import repair
from distrinews.errors import DataError
from distrinews.labels import LABEL_NAMES

__all__ = ["MAX_TEXT_LENGTH", "Row", "read_csv", "read_parquet", "readable"]

# WHY 20,000 characters: the longest of 54,000 real rows has 1,009, and a model reads
# the first few hundred. A text this long is nearly always a quote that was never
# closed and has swallowed the rows after it.
MAX_TEXT_LENGTH = 20_000
# WHY: without a bound, a file with no line end at all is one line as large as itself.
_MAX_LINE_BYTES = 1_000_000

_CLASS_TO_LABEL = {str(k + 1): k for k in range(len(LABEL_NAMES))}
_HEADER_NAMES = {"class index", "class_index", "class", "label"}
_CLASSES = ", ".join(f"{k + 1} {name}" for k, name in enumerate(LABEL_NAMES))
_FORM = f"class,title,description with class one of {_CLASSES}"


class Row(NamedTuple):
    """One row: the text and its label, an index into `LABEL_NAMES`."""

    text: str
    label: int


def read_csv(path: Path) -> Iterator[Row]:
    """Stream the rows of a CSV file in the official form of AG News.

    Args:
        path: A UTF-8 file with the columns class (1 to 4), title, description; packed
            with gzip if its name ends in `.gz`. A header line is recognised and
            skipped, empty lines are skipped.

    Yields:
        One row for each record: `title + " " + description` as it stands in the file,
        and the label 0 to 3.

    Raises:
        DataError: Unreadable, damaged, wrong encoding, not CSV, or a row that breaks
            the form. On this rank only.

    Note:
        Cost: about 5 microseconds a row and one row of memory.
    """
    with readable(path), _open(path) as file:
        for line, fields in _records(_lines(file, path), path):
            if not fields or (line == 1 and fields[0].strip().lower() in _HEADER_NAMES):
                continue
            place = f"line {line} of {path}"
            if len(fields) != 3:
                _reject(
                    f"{place} has {len(fields)} column(s), expected 3.",
                    why="title and description could not be told apart.",
                    fix=f'write {_FORM}; quote a text that holds a comma: "a, b".',
                )
            label = _CLASS_TO_LABEL.get(fields[0].strip())
            if label is None:
                _reject(
                    f"{place} has class {_short(fields[0])}, expected 1 to 4.",
                    why="a label that no class has cannot be learned or scored.",
                    fix=f"use {_CLASSES}.",
                )
            yield Row(_checked(f"{fields[1]} {fields[2]}", place), label)


def read_parquet(paths: list[Path], *, split: str) -> Iterator[Row]:
    """Stream the rows of one split in the Hub's form.

    Args:
        paths: The split's parquet files, in order, with columns `text` and `label`.
        split: Its name, for messages.

    Yields:
        One row for each record, as it stands in the file.

    Raises:
        DataError: Damaged, other columns, other labels. On this rank only.

    Note:
        Cost: about 4 microseconds a row and one batch of 1,000 rows of memory, after
        2 s for importing `datasets`.
    """
    import datasets
    import pyarrow

    name = str(paths[0].parent)
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # WHY: only rank 0 prints, and not for 0.3 s
    try:
        # WHY not streaming=True: pyarrow's reading threads then live to the end of the
        # program and, 2 times in 54, aborted it there: datasets issue #7566, seen here
        # with datasets 5.2 and pyarrow 26. This mode reads a copy that it makes once
        # under HF_HOME. Remove when the issue is closed.
        files = {split: [str(path) for path in paths]}
        table = datasets.load_dataset("parquet", data_files=files, split=split)
        _check_columns(table.features, name)
        number = 0
        for batch in table.iter(batch_size=1000):
            for text, label in zip(batch["text"], batch["label"], strict=True):
                number += 1
                place = f"row {number} of split {split!r} in {name}"
                yield _parquet_row(text, label, place)
    except DataError:
        raise
    except (
        OSError,
        ValueError,
        pyarrow.ArrowException,
        datasets.exceptions.DatasetsError,
    ) as error:
        raise DataError(
            f"cannot read the parquet files of split {split!r} in {name}: "
            f"{error.__cause__ or error}.",
            why="without its rows there is nothing to train with.",
            fix="download the folder again; point HF_HOME at a folder you may write to; "
            "or use --data newswire.",
            page="bad-data",
        ) from error
    finally:
        if shown:
            datasets.enable_progress_bars()


@contextlib.contextmanager
def readable(path: Path) -> Generator[None, None, None]:
    """Turn what opening, reading and unpacking a file can raise into a DataError.

    Args:
        path: The file, for the message.

    Yields:
        None.

    Raises:
        DataError: A gzip file that is none or was cut off, or the system's refusal.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path} is not a whole gzip file: {error}.",
            why="its rows cannot be unpacked, at least not all of them.",
            fix=f"copy it again; test it with: gzip -t {path}",
            page="bad-data",
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}.",
            why="without its rows there is nothing to train with.",
            fix=f"check the path and its permissions: ls -l {path}",
            page="bad-data",
        ) from error


# --- CSV: bytes -> lines -> records ------------------------------------------------


def _open(path: Path) -> IO[bytes]:
    # WHY bytes: a text file's decoder does not say on which line it failed.
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return open(path, "rb")


def _lines(file: IO[bytes], path: Path) -> Iterator[str]:
    number = 0
    while raw := file.readline(_MAX_LINE_BYTES):
        number += 1
        place = f"line {number} of {path}"
        if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            _reject_encoding(f"{path} is UTF-16, expected UTF-8.")
        if number == 1 and raw.startswith((b"\x1f\x8b", b"PK\x03\x04", b"PAR1")):
            _reject(
                f"{path} is a packed or binary file, expected CSV.",
                why="its bytes are no text.",
                fix="unpack it; or end its name in .gz if gzip packed it.",
            )
        if b"\0" in raw:
            _reject_encoding(f"{place} holds a NUL byte; is the file UTF-16 or binary?")
        if len(raw) == _MAX_LINE_BYTES:
            _reject_length(place, f"more than {_MAX_LINE_BYTES:,} bytes")
        try:
            # WHY -sig on line 1: spreadsheets put an invisible mark in front of UTF-8.
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            _reject_encoding(f"{place} is not UTF-8 (byte 0x{raw[error.start]:02x}).")


def _records(lines: Iterable[str], path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line it begins on."""
    # WHY strict: the lax reader takes a quote that is never closed, or an inner quote
    # that is not doubled, and returns a plausible row with the wrong text.
    reader = csv.reader(lines, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            place = f"the record from line {line} of {path}"
            if "field limit" in str(error):  # 131,072 characters, csv's own limit
                _reject_length(place, str(error))
            _reject(
                f"{place} to line {reader.line_num} is not CSV: {error}.",
                why="a quote that is never closed swallows the rows after it.",
                fix='close each quote, and double a quote inside a text: "say ""hi""".',
            )
        yield line, fields


# --- What a row must be ------------------------------------------------------------


def _checked(text: str, place: str) -> str:
    if len(text) > MAX_TEXT_LENGTH:
        _reject_length(place, f"a text of {len(text):,} characters")
    # WHY not simply `not repair(text)`: repair never empties a text with a letter or
    # digit, and looking for one costs a hundredth of repairing.
    if not any(map(str.isalnum, text)) and not repair(text):
        _reject(
            f"{place} has an empty text.",
            why="a model would learn a class from nothing.",
            fix="delete the row, or fill in its title or description.",
        )
    return text


def _parquet_row(text: object, label: object, place: str) -> Row:
    if not isinstance(text, str):
        _reject(
            f"{place} has no text but {_short(text)}.",
            why="there is nothing to read.",
            fix="delete the row, or store text as strings.",
        )
    # WHY type() and not isinstance: True is an int too, and would pass for "Sports".
    if type(label) is not int or not 0 <= label < len(LABEL_NAMES):
        _reject(
            f"{place} has label {_short(label)}, expected 0 to 3.",
            why="a label that no class has cannot be learned or scored.",
            fix=f"use 0 to 3 for {', '.join(LABEL_NAMES)}.",
        )
    return Row(_checked(text, place), label)


def _check_columns(features: dict[str, object], name: str) -> None:
    missing = {"text", "label"} - set(features)
    if missing:
        _reject(
            f"the parquet files in {name} lack the column(s) {sorted(missing)}.",
            why="a row is a text and its label.",
            fix="name the columns text and label.",
        )
    # WHY: `label` 2 means what the file says it means; with other names in it, training
    # would work and every printed class would be wrong.
    names = getattr(features["label"], "names", None)
    if names is not None and tuple(names) != LABEL_NAMES:
        _reject(
            f"the parquet files in {name} name their labels {list(names)}.",
            why=f"this course's labels are {list(LABEL_NAMES)}, in this order.",
            fix="rename or reorder the labels when you write the files.",
        )


def _reject(what: str, *, why: str, fix: str) -> NoReturn:
    raise DataError(what, why=why, fix=fix, page="bad-data") from None


def _reject_encoding(what: str) -> NoReturn:
    _reject(
        what,
        why="its characters would be read as other characters.",
        fix='save it as "CSV UTF-8", or: iconv -f LATIN1 -t UTF-8 old.csv > new.csv '
        "(-f UTF-16 for a UTF-16 file).",
    )


def _reject_length(place: str, found: str) -> NoReturn:
    _reject(
        f"{place}: {found}; a text may have {MAX_TEXT_LENGTH:,} characters.",
        why="so long a text is nearly always a quote that is never closed and has "
        "swallowed the rows after it.",
        fix="close the quote on that line, or cut the text.",
    )


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:40]}..."
