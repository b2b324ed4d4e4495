"""Read labelled rows from CSV files and name the line of every fault.

Promise: a file is read once from front to back in flat memory, and whatever is wrong
with it ends in one `DataError` that names file, line and cure. Neither `csv.Error`
nor `UnicodeDecodeError` gets out.

The form is AG News' own, `class,title,description` with classes 1 to 4, or a header
that names text and label.

WHY no library: of 12 spoilt files, `datasets` read 8 without an error and named the
line of 1 (datasets 5.2); `pyarrow.csv` read 9 and named no line (pyarrow 26).

Not here: other formats (`distrinews.data.json_rows`, `distrinews.data.arrow_rows`),
the names of columns (`distrinews.data.columns`), which rows are taken
(`distrinews.data.file_sources`), repairs (`distrinews.data.cleaning`).
Guide: reference/data.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import re
import zlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, NoReturn, cast

from distrinews.data.cleaning import repair
from distrinews.data.columns import (
    Columns,
    ColumnsWanted,
    FileRow,
    FileRows,
    choose,
    refuse,
)
from distrinews.data.labels import LABEL_NAMES, label_name
from distrinews.errors import DataError

__all__ = [
    "MAX_TEXT_LENGTH",
    "checked_text",
    "check_controls",
    "lines",
    "open_bytes",
    "read_csv",
    "reject",
    "reject_label",
    "short_repr",
    "translate_read_errors",
]

# WHY 20,000 characters: the longest of 54,000 real rows has 1,009, and a model reads
# the first few hundred. A text this long is nearly always a quote that was never
# closed and has swallowed the rows after it.
MAX_TEXT_LENGTH = 20_000
# WHY: without a bound, a file with no line end at all is one line as large as itself.
_MAX_LINE_BYTES = 1_000_000

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "pipes"}
# Lines that are read to recognise the form.
HEAD_LINES = 50

_NEWS_CLASSES = {str(k + 1): name for k, name in enumerate(LABEL_NAMES)}
_NEWS_HEADERS = {"class index", "class_index", "class", "label"}
_NEWS_COLUMNS = Columns(("title", "description"), "class", (1, 2), 0)
_CLASSES = ", ".join(f"{k} {name}" for k, name in _NEWS_CLASSES.items())


@dataclass(frozen=True)
class _Form:
    """How a CSV file is written."""

    separator: str = ","
    columns: Columns = _NEWS_COLUMNS
    num_columns: int = 3
    is_news: bool = True
    num_skipped: int = 0  # lines above the first record: Excel's `sep=;`
    has_header: bool = False

    @property
    def description(self) -> str:
        news = "AG News' form, classes 1 to 4 (on the Hub 0 to 3)"
        kind = news if self.is_news else self.columns.description
        return f"CSV with {SEPARATORS.get(self.separator, self.separator)}; {kind}"


def read_csv(path: Path, *, wanted: ColumnsWanted | None = None) -> FileRows:
    """Open a CSV file, recognise its form and stream its rows.

    Args:
        path: A UTF-8 file, packed with gzip if its name ends in `.gz`. Fields are
            separated by commas, semicolons, tabs or pipes, or as its first line
            `sep=...` says. It has a header that names text and label, or AG News' own
            form: class (1 to 4), title, description. Empty lines are skipped.
        wanted: Which columns to read; None: find them.

    Returns:
        The rows, read one by one: the texts as they stand in the file, joined with a
        blank. In AG News' form labels are named by the four classes.

    Raises:
        DataError: Unreadable, damaged, wrong encoding, a form that is not recognised;
            while rows are taken: not CSV, or a row that breaks the form. On this rank
            only.

    Note:
        Cost: about 5 microseconds a row and one row of memory.
    """
    wanted = wanted or ColumnsWanted()
    with translate_read_errors(path), open_bytes(path) as file:
        form = _recognise(list(islice(lines(file, path), HEAD_LINES)), path, wanted)
    class_names = LABEL_NAMES if form.is_news else None
    return FileRows(_rows(path, form), class_names, form.description)


def _rows(path: Path, form: _Form) -> Iterator[FileRow]:
    places, label_place = form.columns.text_places, form.columns.label_place
    is_header = form.has_header
    with translate_read_errors(path), open_bytes(path) as file:
        for line, fields in _records(lines(file, path), path, form):
            if not fields:
                continue
            if is_header:
                is_header = False
                continue
            location = f"line {line} of {path}"
            if len(fields) != form.num_columns:
                reject(
                    f"{location} has {len(fields)} column(s), expected "
                    f"{form.num_columns}.",
                    why="its text and its label could not be told apart.",
                    fix=f"write {_expected(form)}; quote a text that holds "
                    f'{form.separator!r}: "a{form.separator} b".',
                )
            label = label_name(fields[label_place])
            if form.is_news:
                label = _NEWS_CLASSES.get(label or "")
            if label is None:
                _reject_label(location, fields[label_place], form)
            text = " ".join([fields[place] for place in places])
            check_controls(text, location)
            yield FileRow(checked_text(text, location=location), label, location)


def _expected(form: _Form) -> str:
    if form.is_news:
        return f"class,title,description with class one of {_CLASSES}"
    return f"{form.num_columns} columns in each row, as in the first one"


def _reject_label(location: str, value: str, form: _Form) -> NoReturn:
    if not form.is_news:
        reject_label(location, value)
    reject(
        f"{location} has class {short_repr(value)}, expected 1 to 4.",
        why="the rows before it are in AG News' form, whose classes are these four.",
        fix=f"use {_CLASSES}; for classes of your own say where they stand (a "
        "chapter: --label-column 1 --text-columns 2,3; names, if the file has a "
        "header).",
    )


def reject_label(location: str, value: object) -> NoReturn:
    """Raise a DataError about a label that names no class.

    Args:
        location: File and line, for the message.
        value: What stands there.

    Raises:
        DataError: Always.
    """
    reject(
        f"{location} has label {short_repr(value)}, expected a name or a whole number.",
        why="a row without a class cannot be learned or scored.",
        fix="fill in the label, or delete the row.",
    )


# --- Which form is it? ----------------------------------------------------------------


def _recognise(head: list[str], path: Path, wanted: ColumnsWanted) -> _Form:
    """Find separator and columns, or raise a DataError that shows what was found."""
    sep = re.fullmatch(r"sep=(.)[\r\n]*", head[0]) if head else None
    num_skipped, separators = 0, list(SEPARATORS)
    if sep:  # Excel's own way to say it
        num_skipped, separators, head = 1, [sep[1]], head[1:]
    if not any(line.strip() for line in head):
        return _Form()  # no rows; whoever counts them says so
    if re.match(r'\s*[\[{]\s*["{]', head[0]):
        reject(
            f"{path} holds JSON, its name says CSV.",
            why="its rows would be cut at their commas.",
            fix="end its name in .jsonl (one object per line).",
        )
    first_records = {}
    for separator in separators:
        records = _head_records(head, separator)
        form = _form(records, separator, wanted)
        if form is not None:
            return replace(form, num_skipped=num_skipped)
        first_records[separator] = records[0] if records else []
    if not first_records[separators[0]]:
        return _Form(separators[0], num_skipped=num_skipped)  # reading says why
    header = max(first_records.values(), key=len)
    refuse(
        header,
        wanted,
        what=f"{path}: the first line is no header that names a text and a label, and "
        "no row of AG News' form",
    )


def _head_records(head: list[str], separator: str) -> list[list[str]]:
    """The records of the first lines, up to one that is none."""
    records: list[list[str]] = []
    reader = csv.reader(head, delimiter=separator, strict=True, skipinitialspace=True)
    with contextlib.suppress(csv.Error):
        records.extend(record for record in reader if record)
    return records


def _form(
    records: list[list[str]], separator: str, wanted: ColumnsWanted
) -> _Form | None:
    """The form of records that were cut at a separator; None if it is none we know."""
    if not records or len(records[0]) < 2:
        return None
    first = records[0]
    if wanted.are_places:
        return _form_without_header(records, separator, wanted)
    asked = wanted.text is not None or wanted.label is not None
    names = [name.strip().lower() for name in first]
    is_news_header = names[0] in _NEWS_HEADERS and names[1:] == ["title", "description"]
    first_row = first if not is_news_header else (records[1:] or [["1"]])[0]
    is_news = len(first) == 3 and first_row[0].strip() in _NEWS_CLASSES
    if is_news and not asked:
        return _Form(separator, has_header=is_news_header)
    columns = choose(first, wanted)
    if columns is None:
        return None
    return _Form(separator, columns, len(first), is_news=False, has_header=True)


def _form_without_header(
    records: list[list[str]], separator: str, wanted: ColumnsWanted
) -> _Form | None:
    texts = [int(name) - 1 for name in wanted.texts]
    label = int(wanted.label or 0) - 1
    num_columns = len(records[0])
    is_even = all(len(record) == num_columns for record in records)
    if not is_even or not all(0 <= k < num_columns for k in (*texts, label)):
        return None
    names = tuple(f"column {k + 1}" for k in texts)
    columns = Columns(names, f"column {label + 1}", tuple(texts), label)
    return _Form(separator, columns, num_columns, is_news=False)


@contextlib.contextmanager
def translate_read_errors(path: Path) -> Generator[None, None, None]:
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


def checked_text(text: str, *, location: str) -> str:
    """Return the text if a model can learn from it.

    Args:
        text: One row's text, not yet repaired.
        location: File and line, for the message.

    Returns:
        The same text.

    Raises:
        DataError: Longer than `MAX_TEXT_LENGTH`, or nothing left of it once repaired.

    Examples:
        >>> checked_text("Oil up", location="line 1 of train.csv")
        'Oil up'
    """
    if len(text) > MAX_TEXT_LENGTH:
        _reject_length(location, f"a text of {len(text):,} characters")
    # WHY not simply `not repair(text)`: repair never empties a text with a letter or
    # digit, and looking for one costs a hundredth of repairing.
    if not any(map(str.isalnum, text)) and not repair(text):
        reject(
            f"{location} has an empty text.",
            why="a model would learn a class from nothing.",
            fix="delete the row, or fill in its title or description.",
        )
    return text


def reject(what: str, *, why: str, fix: str) -> NoReturn:
    """Raise a DataError about rows.

    Args:
        what: File, line, and what stands there.
        why: The consequence if it were accepted.
        fix: What to change.

    Raises:
        DataError: Always. The error that led here, if any, says nothing more.
    """
    raise DataError(what, why=why, fix=fix, page="bad-data") from None


def short_repr(value: object) -> str:
    """Show a value in a message, cut to 40 characters.

    Args:
        value: Anything that stood in a file.

    Returns:
        Its `repr`, or the beginning of it.

    Examples:
        >>> short_repr("x" * 100)[-6:]
        'xxx...'
    """
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


# --- CSV: bytes -> lines -> records ------------------------------------------------


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file, unpacked if its name ends in `.gz`.

    Args:
        path: The file.

    Returns:
        Its bytes.
    """
    # WHY bytes: a text file's decoder does not say on which line it failed.
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return open(path, "rb")


def lines(file: IO[bytes], path: Path) -> Iterator[str]:
    """Decode a file line by line.

    Args:
        file: Its bytes, at the beginning.
        path: The file, for messages.

    Yields:
        Each line with its end.

    Raises:
        DataError: Not UTF-8, packed, binary, or a line of a million bytes.
    """
    number = 0
    while raw := file.readline(_MAX_LINE_BYTES):
        number += 1
        location = f"line {number} of {path}"
        if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            _reject_encoding(f"{path} is UTF-16, expected UTF-8.")
        if number == 1 and raw.startswith((b"\x1f\x8b", b"PK\x03\x04", b"PAR1")):
            reject(
                f"{path} is a packed or binary file, expected CSV.",
                why="its bytes are no text.",
                fix="unpack it; or end its name in .gz if gzip packed it.",
            )
        if b"\0" in raw:
            _reject_encoding(
                f"{location} holds a NUL byte; is the file UTF-16 or binary?"
            )
        if len(raw) == _MAX_LINE_BYTES:
            _reject_length(location, f"more than {_MAX_LINE_BYTES:,} bytes")
        try:
            # WHY -sig on line 1: spreadsheets put an invisible mark in front of UTF-8.
            yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            _reject_encoding(
                f"{location} is not UTF-8 (byte 0x{raw[error.start]:02x})."
            )


def _records(
    all_lines: Iterable[str], path: Path, form: _Form
) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line it begins on."""
    record_lines = islice(all_lines, form.num_skipped, None)
    # WHY strict: the lax reader takes a quote that is never closed, or an inner quote
    # that is not doubled, and returns a plausible row with the wrong text.
    # WHY skip blanks: people write `"1", "Talks, then war"`, and with the blank before
    # it a quote would be an ordinary character.
    reader = csv.reader(
        record_lines, delimiter=form.separator, strict=True, skipinitialspace=True
    )
    while True:
        line = form.num_skipped + reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            location = f"the record from line {line} of {path}"
            last_line = form.num_skipped + reader.line_num
            if "field limit" in str(error):  # 131,072 characters, csv's own limit
                _reject_length(location, str(error))
            reject(
                f"{location} to line {last_line} is not CSV: {error}.",
                why="a quote that is never closed swallows the rows after it.",
                fix='close each quote, and double a quote inside a text: "say ""hi""".',
            )
        yield line, fields


def _reject_encoding(what: str) -> NoReturn:
    reject(
        what,
        why="its characters would be read as other characters.",
        # WHY not LATIN1: it has the same letters, but reads the bytes 0x80 to 0x9f,
        # Windows' quotes and dashes, as control characters.
        fix='save it as "CSV UTF-8", or: iconv -f CP1252 -t UTF-8 old.csv > new.csv '
        "(-f UTF-16 for a UTF-16 file).",
    )


_CONTROLS = re.compile("[\x80-\x9f]")


def check_controls(text: str, location: str) -> None:
    """Refuse what a Windows file becomes when it is converted as Latin-1.

    Args:
        text: One row's text.
        location: File and line, for the message.

    Raises:
        DataError: It holds a control character from U+0080 to U+009F.

    Examples:
        >>> check_controls("caf\u00e9 \u201copen\u201d", "line 1")
    """
    if text.isascii():
        return
    if found := _CONTROLS.search(text):
        reject(
            f"{location} holds the control character U+{ord(found[0]):04X}.",
            why="no text has it: a Windows file (CP1252) was converted as if it were "
            "Latin-1, and its quotes and dashes were lost.",
            fix="convert the old file again: iconv -f CP1252 -t UTF-8 old.csv > "
            "new.csv.",
        )


def _reject_length(location: str, size: str) -> NoReturn:
    reject(
        f"{location}: {size}; a text may have {MAX_TEXT_LENGTH:,} characters.",
        why="so long a text is nearly always a quote that is never closed and has "
        "swallowed the rows after it.",
        fix="close the quote on that line, or cut the text.",
    )
