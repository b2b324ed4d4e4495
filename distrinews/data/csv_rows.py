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
from typing import IO, TYPE_CHECKING, NoReturn, cast

from distrinews.data import conversion
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
from distrinews.system import console, shell

if TYPE_CHECKING:
    from _csv import Reader

__all__ = [
    "ARRAY_FIX",
    "MAX_TEXT_LENGTH",
    "checked_text",
    "check_conversion",
    "check_kind",
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

_SAVE_AS_CSV = 'save the sheet as "CSV UTF-8"'
# What a file is in truth, by its first bytes, and the cure.
_KINDS = (
    (b"\x1f\x8b", "gzip", "unpack it; or end its name in .gz if it holds CSV or JSON"),
    (b"PK\x03\x04", "a zip file or an Excel workbook", f"unzip it; or {_SAVE_AS_CSV}"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", _SAVE_AS_CSV),
    (b"PAR1", "parquet", "end its name in .parquet"),
    (b"ARROW1\0\0", "an Arrow or Feather file", "save the table as parquet"),
    (b"\x80\x04\x95", "a pickle", "save the table as parquet"),
    (b"\x80\x05\x95", "a pickle", "save the table as parquet"),
    (b"BZh91AY&SY", "packed with bzip2", "unpack it"),
    (b"\xfd7zXZ", "packed with xz", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it"),
    (b"version https://git-lfs", "a Git LFS pointer, not the data", "git lfs pull"),
    (b"<!doctype html", "a web page", "download the file itself (its raw form)"),
    (b"<!DOCTYPE html", "a web page", "download the file itself (its raw form)"),
)
ARRAY_FIX = "one object per line: " + shell.rewrite_file(
    "old.json",
    "new.jsonl",
    "b''.join(json.dumps(row).encode() + b'\\n' for row in json.loads(old))",
    modules="json",
)

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
            form: class (1 to 4), title, description. Empty lines and lines of empty
            fields are skipped; empty fields behind the last column are dropped.
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
    header: list[str] | None = None
    is_warned = False
    with translate_read_errors(path), open_bytes(path) as file:
        for line, fields in _records(lines(file, path), path, form):
            if form.has_header and header is None:
                header = fields
                continue
            location = f"line {line} of {path}"
            if fields == header:
                reject(
                    f"{location} repeats the header.",
                    why="its words would be read as a text and a class: two files were "
                    "put together with their headers.",
                    fix="delete the line.",
                )
            label = label_name(fields[label_place])
            if form.is_news:
                label = _NEWS_CLASSES.get(label or "")
            if label is None:
                _reject_label(location, fields[label_place], form)
            text = " ".join([fields[place] for place in places])
            is_warned = is_warned or check_conversion(path, location, label, text)
            yield FileRow(checked_text(text, location=location), label, location)


def check_conversion(path: Path, location: str, *texts: str) -> bool:
    """Refuse what a wrong conversion left in a row, or warn of it.

    Args:
        path: The file.
        location: Of the row in it, for the message.
        *texts: The row's label and text.

    Returns:
        Whether there is a warning, so that the rows that follow need no look.

    Raises:
        DataError: The file as a whole can be converted back.
    """

    def read_bytes() -> Iterator[bytes]:
        with open_bytes(path) as file:
            yield from iter(lambda: file.readline(_MAX_LINE_BYTES), b"")

    for text in texts:
        if found := conversion.find(text):
            conversion.refuse_or_warn(found, location, read_bytes)
            return True
    return False


def _expected(form: _Form) -> str:
    if form.is_news:
        return f"class,title,description with class one of {_CLASSES}"
    return f"{form.num_columns} columns in each row, as in the first one"


def _reject_label(location: str, value: str, form: _Form) -> NoReturn:
    if not form.is_news:
        reject_label(location, value)
    hub = "the Hub counts from 0: add 1 to each class; " if value == "0" else ""
    reject(
        f"{location} has class {short_repr(value)}, expected 1 to 4.",
        why="the rows before it are in AG News' form, whose classes are these four.",
        fix=f"{hub}use {_CLASSES}; for your own classes name their column (a "
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
    if re.match(r'\s*[\[{]\s*["{]', "".join(head[:2])):
        reject(
            f"{path} holds JSON, its name says CSV.",
            why="its rows would be split at their commas.",
            fix="end its name in .jsonl (one object per line).",
        )
    first_records: dict[str, list[str]] = {}
    forms: dict[float, _Form] = {}
    for separator in separators:
        records = _head_records(head, separator)
        form = _form(records, separator, wanted)
        if form is not None:
            forms.setdefault(_share_of_labels(records, form), form)
        first_records[separator] = records[0] if records else []
    if forms:
        return replace(forms[min(forms)], num_skipped=num_skipped)
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
    """The records of the first lines that hold something, up to one that is none."""
    records: list[list[str]] = []
    with contextlib.suppress(csv.Error):
        for record in _reader(head, separator):
            if any(map(str.strip, record)):
                records.append(record)
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


def _share_of_labels(records: list[list[str]], form: _Form) -> float:
    """How many different labels stand in the first records, per record."""
    # WHY: without a header, `ham<tab>yes, now` can be cut at its comma, too. Then each
    # record has a label of its own.
    place = form.columns.label_place
    labels = [record[place] for record in records if len(record) > place]
    return len(set(labels)) / len(labels)


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
            fix="copy it or download it again.",
            page="bad-data",
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}.",
            why="without its rows there is nothing to train with.",
            fix="check the path and its permissions.",
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
    if path.suffix.lower() == ".gz":
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
        DataError: Not UTF-8, another kind of file, or a line of a million bytes.
    """
    number = 0
    while raw := file.readline(_MAX_LINE_BYTES):
        number += 1
        location = f"line {number} of {path}"
        if number == 1:
            if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                _reject_encoding(f"{path} is UTF-16, expected UTF-8.", "UTF-16", path)
            check_kind(raw, path, expected="text")
        if b"\0" in raw:
            _reject_nul(raw, location, path)
        if len(raw) == _MAX_LINE_BYTES:
            _reject_long_line(raw, location)
        try:
            # WHY: spreadsheets put an invisible mark in front of UTF-8. In a file made
            # of several, a mark in the middle would make a class of its own.
            yield raw.decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            near = raw[max(0, error.start - 12) : error.start + 16]
            _reject_encoding(
                f"{location} is not UTF-8 (byte 0x{raw[error.start]:02x}; as CP1252 it "
                f"reads {near.decode('cp1252', 'replace').strip()!r}).",
                "CP1252",
                path,
            )


def _records(
    all_lines: Iterable[str], path: Path, form: _Form
) -> Iterator[tuple[int, list[str]]]:
    """Each record that holds something, with the line it begins on."""
    record_lines: list[str] = []

    def remembered() -> Iterator[str]:
        for line in islice(all_lines, form.num_skipped, None):
            record_lines.append(line)
            yield line

    reader = _reader(remembered(), form.separator)
    while True:
        record_lines.clear()
        line = form.num_skipped + reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            last_line = form.num_skipped + reader.line_num
            location = f"the record from line {line} of {path} to line {last_line}"
            _reject_record(location, str(error), record_lines, form)
        if not any(map(str.strip, fields)):
            continue  # also `;;;`, which spreadsheets write for rows of empty cells
        if not any(map(str.strip, fields[form.num_columns :])):
            del fields[form.num_columns :]  # likewise for empty columns
        if len(fields) != form.num_columns:
            why, fix = _quote_fault(record_lines, form) or (
                "its text and its label could not be separated.",
                f"write {_expected(form)}; quote a text that holds "
                f'{form.separator!r}: "a{form.separator} b".',
            )
            reject(
                f"line {line} of {path} has "
                f"{console.counted(len(fields), 'column')}, "
                f"expected {form.num_columns}.",
                why=why,
                fix=fix,
            )
        yield line, fields


def _reject_record(
    location: str, problem: str, record_lines: list[str], form: _Form
) -> NoReturn:
    if "field limit" in problem:  # 131,072 characters, csv's own limit
        _reject_length(location, problem)
    if "new-line character" in problem:
        _reject_carriage_return(location, is_old_mac="\n" not in record_lines[-1])
    why, fix = _quote_fault(record_lines, form) or (
        "a quote that is never closed swallows the rows after it.",
        'close each quote, and double a quote inside a text: "say ""hi""".',
    )
    reject(f"{location} is not CSV: {problem}.", why=why, fix=fix)


def _reader(record_lines: Iterable[str], separator: str) -> Reader:
    # WHY strict: the lax reader takes a quote that is never closed, or an inner quote
    # that is not doubled, and returns a plausible row with the wrong text.
    # WHY skip blanks: people write `"1", "Talks, then war"`, and with the blank before
    # it a quote would be an ordinary character.
    return csv.reader(
        record_lines, delimiter=separator, strict=True, skipinitialspace=True
    )


def _quote_fault(record_lines: list[str], form: _Form) -> tuple[str, str] | None:
    """Why a record cannot be cut, and the cure, if the cure works on this record."""
    separator = re.escape(form.separator)
    hexadecimal = "".join(rf"\x{byte:02x}" for byte in form.separator.encode())
    faults = (
        (
            r'\\"',
            '""',
            "a backslash stands before its inner quotes; CSV doubles them.",
            r"old.replace(b'\x5c\x22', b'\x22\x22')",
        ),
        (
            rf'" +(?=[{separator}\r\n]|$)',
            '"',
            "a blank stands between a closing quote and what follows.",
            rf"re.sub(rb'\x22 +(?=[{hexadecimal}\r\n]|\Z)', "
            r"b'\x22', old)",
        ),
    )
    for pattern, mended, why, fix in faults:
        lines_mended = [re.sub(pattern, mended, line) for line in record_lines]
        if lines_mended == record_lines:
            continue
        with contextlib.suppress(csv.Error):
            records = list(_reader(lines_mended, form.separator))
            if all(len(record) == form.num_columns for record in records):
                return why, _rewrite(fix)
    num_tabs = form.num_columns - 1
    if form.separator == "\t" and all(n.count("\t") == num_tabs for n in record_lines):
        return (
            "tab-separated files often have quotes as part of a text; here they are "
            "read as CSV's.",
            _rewrite(
                r"b'\n'.join(b'\x22' + row.replace(b'\x22', b'\x22\x22')"
                r".replace(b'\t', b'\x22\t\x22') + b'\x22' for row in old.splitlines())"
            ),
        )
    return None


def _rewrite(expression: str, ending: str = ".csv") -> str:
    """The command that makes `new` from `old`, in the names of our messages."""
    modules = "re" if expression.startswith("re.") else ""
    return shell.rewrite_file(
        f"old{ending}", f"new{ending}", expression, modules=modules
    )


def check_kind(head: bytes, path: Path, *, expected: str) -> None:
    """Refuse a file that is of another kind than its name says.

    Args:
        head: Its first bytes, 24 or more.
        path: The file.
        expected: What its name says, for the message.

    Raises:
        DataError: It is of a kind that is known by its first bytes.

    Examples:
        >>> check_kind(b"label,text", Path("a.csv"), expected="text")
    """
    for start, kind, fix in _KINDS:
        if head.startswith(start):
            reject(
                f"{path} is {kind}, expected {expected}.",
                why="its rows cannot be read in this form.",
                fix=f"{fix}.",
            )


def _reject_encoding(what: str, encoding: str, path: Path) -> NoReturn:
    # WHY not Latin-1: it has the same letters as CP1252, but reads the bytes 0x80 to
    # 0x9f, Windows' quotes and dashes, as control characters.
    doubt = ", with another encoding if that reads wrong" * (encoding == "CP1252")
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    command = _rewrite(f"old.decode('{encoding}').encode()", ending)
    reject(
        what,
        why="its characters would be read as other characters.",
        fix=f'save it as UTF-8 (Excel: "CSV UTF-8"), or{doubt}: {command}',
    )


def _reject_nul(raw: bytes, location: str, path: Path) -> NoReturn:
    """Raise for UTF-16 without a mark (every other byte is 0), or for damage."""
    if raw.count(0) * 3 > len(raw):
        encoding = "UTF-16BE" if raw[0] == 0 else "UTF-16LE"
        what = f"{location} holds NUL bytes; it is {encoding}."
        _reject_encoding(what, encoding, path)
    reject(
        f"{location} holds a NUL byte.",
        why="no text has one: the file is binary, or was damaged.",
        fix="write it again; or leave them out: "
        + _rewrite(r"old.replace(b'\0', b'')"),
    )


def _reject_long_line(raw: bytes, location: str) -> NoReturn:
    """Raise for a line of a million bytes: a whole file without line ends?"""
    if raw.lstrip().startswith(b"["):
        reject(
            f"{location} is a JSON array of more than {_MAX_LINE_BYTES:,} bytes.",
            why="each line must be one object, so that rows can be read one by one.",
            fix=ARRAY_FIX,
        )
    if raw.count(b"\r") > 1:
        _reject_carriage_return(location, is_old_mac=True)
    _reject_length(location, f"more than {_MAX_LINE_BYTES:,} bytes")


def _reject_carriage_return(location: str, *, is_old_mac: bool) -> NoReturn:
    if is_old_mac:
        why = "lines end with it, as in old Mac programs; here they are one line."
        new = r"b'\n'"
    else:
        # Python's own csv (3.11, tried) writes it so where lines end in "\n".
        why = "a text that holds it is not quoted: does its row end there?"
        new = "b' '"
    what = f"{location} is not CSV: a carriage return stands outside quotes."
    reject(what, why=why, fix=_rewrite(rf"old.replace(b'\r', {new})"))


def _reject_length(location: str, size: str) -> NoReturn:
    reject(
        f"{location}: {size}; a text may have {MAX_TEXT_LENGTH:,} characters.",
        why="so long a text is nearly always a quote that is never closed and has "
        "swallowed the rows after it.",
        fix="close the quote on that line, or cut the text.",
    )
