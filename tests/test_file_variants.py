"""Proofs for files as people have them: read as meant, or refused with the true cause.

Each form of a file has a verdict. What is read must give the rows that were written.
What is refused must name its cause, and where the message holds a command, the command
runs and its result is read. Other forms: `test_own_formats.py`, `test_sources.py`.
"""

from __future__ import annotations

import csv
import decimal
import gzip
import io
import json
import logging
import pickle
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from distrinews.data import conversion
from distrinews.data.columns import ColumnsWanted
from distrinews.data.labels import LABEL_NAMES
from distrinews.data.sources import open_source
from distrinews.errors import DataError

Rows = Sequence[tuple[str, str]]

ROWS: Rows = [
    (label, f"{text} {number}")
    for number in range(3)
    for label, text in (
        ("sehr gut", "Schöne Aussicht, kurze Strecken"),
        ("müßig", 'Er sagte "nein", dann'),
        ("sehr gut", "zwei\nZeilen"),
        ("müßig", "Preis: 3;50 | netto"),
    )
]
PLAIN: Rows = [(label, text.replace("\n", " ")) for label, text in ROWS]
PLACES = ColumnsWanted("2", "1")


def read(path: Path, wanted: ColumnsWanted | None = None) -> list[tuple[str, str]]:
    """Every row of both splits: name of its label, text."""
    source = open_source(str(path), repaired=False, wanted=wanted)
    source.check()
    return sorted(
        (source.class_names[row.label], row.text)
        for split in ("train", "test")
        for row in source.rows(split, num_rows=None, seed=0)
    )


def text(
    rows: Rows = ROWS, head: str = "label,text\n", end: str = "\n", **form: Any
) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator=end, **form).writerows(rows)
    return head + out.getvalue()


def with_columns(before: str, after: str, rows: Rows = PLAIN) -> str:
    """The rows with something before and behind each of them; the header first."""
    head, *lines = text(rows).splitlines()
    numbered = [
        f"{before.format(n)}{line}{after.format(n)}" for n, line in enumerate(lines)
    ]
    return "\n".join([head, *numbered, ""])


def backslashed(rows: Rows) -> str:
    return "label,text\n" + "".join(
        '{},"{}"\n'.format(label, words.replace('"', '\\"')) for label, words in rows
    )


def quoted(row: str, rows: Rows = PLAIN) -> str:
    """Each row in a form of its own, its quotes doubled."""
    return "label,text\n" + "".join(
        row.format(label, words.replace('"', '""')) for label, words in rows
    )


# --- CSV that is read ---------------------------------------------------------------

CSV: dict[str, tuple[str | bytes, Rows]] = {
    "positive control": (text(), ROWS),
    "mark of UTF-8": ("\ufeff" + text(), ROWS),
    "Windows line ends": (text(PLAIN, "label,text\r\n", "\r\n"), PLAIN),
    "line ends doubled by Python on Windows": (
        text(PLAIN, "label,text\r\r\n", "\r\r\n"),
        PLAIN,
    ),
    "blank before quotes": (quoted('"{}", "{}"\n'), PLAIN),
    "every field quoted": (text(quoting=csv.QUOTE_ALL), ROWS),
    "quotes inside an unquoted text": (
        'label,text\nham,he said "yes"\nspam,now\nham,no\nspam,never\n',
        [("ham", 'he said "yes"'), ("spam", "now"), ("ham", "no"), ("spam", "never")],
    ),
    "empty lines": (text(PLAIN).replace("\n", "\n\n"), PLAIN),
    "empty cells below the table": (text() + ",\n , \n\n", ROWS),
    "empty line above the header": (",\n" + text(), ROWS),
    "trailing separators in all lines": (
        with_columns("", ",").replace("label,text", "label,text,"),
        PLAIN,
    ),
    "trailing separators in the rows": (with_columns("", ",,"), PLAIN),
    "header in capitals": (text(head="LABEL,Text\n"), ROWS),
    "pandas' index": (
        with_columns("{},", "").replace("label", "Unnamed: 0,label", 1),
        PLAIN,
    ),
    "pandas' index without a name": (
        with_columns("{},", "").replace("label", ",label", 1),
        PLAIN,
    ),
    "blanks around labels": (text([(f" {a}\t", b) for a, b in ROWS]), ROWS),
    "umlauts in both forms": (
        text([(unicodedata.normalize("NFD", a), b) for a, b in ROWS[:6]])
        + text(ROWS[6:], ""),
        ROWS,
    ),
    "labels as floats": (
        text([(f"{n % 2}.0", f"text {n}") for n in range(8)]),
        [(f"{n % 2}", f"text {n}") for n in range(8)],
    ),
    "labels True and False": (
        text([(str(n % 2 == 0), f"text {n}") for n in range(8)]),
        [(str(n % 2 == 0), f"text {n}") for n in range(8)],
    ),
    "a class that is called None": (
        text([(("None", "anger")[n % 2], f"text {n}") for n in range(8)]),
        [(("None", "anger")[n % 2], f"text {n}") for n in range(8)],
    ),
    "a mark in the middle, without a header": (
        text(ROWS[:4]) + "\ufeff" + text(ROWS[4:], ""),
        ROWS,
    ),
    "semicolons, sep= and a mark": (
        "\ufeffsep=;\r\n" + text(PLAIN, "label;text\r\n", "\r\n", delimiter=";"),
        PLAIN,
    ),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", CSV)
def test_a_csv_file_is_read_as_meant(tmp_path: Path, name: str, packed: bool) -> None:
    content, rows = CSV[name]
    raw = content.encode() if isinstance(content, str) else content
    # Names in capitals, as Windows programs write them, mean the same.
    path = tmp_path / ("A.CSV.GZ" if packed else "a.csv")
    path.write_bytes(gzip.compress(raw) if packed else raw)
    assert read(path) == sorted(rows)


def test_without_a_header_the_separator_is_the_one_that_gives_few_labels(
    tmp_path: Path,
) -> None:
    """Each of these rows can be cut at its comma, too: four labels of one row each."""
    rows = [("ham", "see you, soon"), ("spam", "win cash, now"), ("ham", "yes, and no")]
    path = tmp_path / "a.txt"
    path.write_text("".join(f"{a}\t{b} {k}\n" for k in range(2) for a, b in rows))
    assert read(path, PLACES) == sorted(
        (a, f"{b} {k}") for k in range(2) for a, b in rows
    )
    # Negative control: with a comma between the columns, it is the comma.
    path.write_text("".join(f'{a},"{b}; {k}"\n' for k in range(2) for a, b in rows))
    assert read(path, PLACES) == sorted(
        (a, f"{b}; {k}") for k in range(2) for a, b in rows
    )


# --- CSV that is refused --------------------------------------------------------------

# Content; what the message must say; the rows after its command was run, if it has one.
Refused = tuple[str | bytes, str, Rows | None]
MAC = text(PLAIN).replace("\n", "\r")
LONG: Rows = [(f"{n % 2}", f"text {n} " + "word " * 1000) for n in range(400)]
WINDOWS: Rows = [("a", "„Schön“ – 5 €"), ("b", "don’t"), ("a", "ja"), ("b", "nein")]
QUOTES: Rows = [("a", "“Schön”"), ("b", "don’t"), ("a", "à la carte"), ("b", "nein")]
RUSSIAN: Rows = [("a", "Мир"), ("b", "Спорт"), ("a", "да"), ("b", "нет")]


def seen_by_windows(words: str) -> str:
    """UTF-8 as Windows' programs show it that take it for CP1252."""
    return "".join(
        bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in words.encode()
    )


REFUSED_CSV: dict[str, Refused] = {
    "UTF-16": (text().encode("utf-16"), r"is UTF-16(?s:.*)decode\('UTF-16'\)", ROWS),
    "UTF-16 without a mark": (
        text().encode("utf-16-le"),
        r"line 1 .*NUL.* UTF-16LE(?s:.*)decode\('UTF-16LE'\)",
        ROWS,
    ),
    "Windows' quotes and dashes": (
        text(WINDOWS).encode("cp1252"),
        r"line 2 .*byte 0x84; as CP1252 it reads .*„Schön“ – 5 €(?s:.*)\('CP1252'\)",
        WINDOWS,
    ),
    "Windows file converted as Latin-1": (
        text(WINDOWS).encode("cp1252").decode("latin-1").encode(),
        r"line 2 .*U\+0084(?s:.*)Windows file \(CP1252\) was read as if",
        WINDOWS,
    ),
    "UTF-8 converted as Latin-1": (
        text(WINDOWS).encode().decode("latin-1").encode(),
        r"line 2 .*'â\\x80\\x9e', which was '„'(?s:.*)UTF-8 was read as if it were",
        WINDOWS,
    ),
    "UTF-8 converted as CP1252": (
        text(WINDOWS).encode().decode("cp1252").encode(),
        r"line 2 .*'â€ž', which was '„'(?s:.*)UTF-8 was read as if it were CP1252",
        WINDOWS,
    ),
    "UTF-8 converted as CP1252 by Windows, with a mark": (
        "\ufeff" + seen_by_windows(text(QUOTES)),
        r"line 2 .*'â€œ', which was '“'(?s:.*)UTF-8 was read as if it were CP1252",
        QUOTES,
    ),
    "UTF-8 of Russia converted as CP1252": (
        seen_by_windows(text(RUSSIAN)),
        r"line 2 .*'ÐœÐ¸', which was 'Ми'(?s:.*)UTF-8 was read as if it were CP1252",
        RUSSIAN,
    ),
    "a label converted as Latin-1": (
        text([(("r\x92n", "a")[n % 2], f"text {n}") for n in range(8)]),
        r"line 2 .*U\+0092(?s:.*)CP1252",
        [(("r’n", "a")[n % 2], f"text {n}") for n in range(8)],
    ),
    "line ends of old Macs": (
        MAC,
        r"line 1 .*not CSV: a carriage return(?s:.*)old Mac",
        PLAIN,
    ),
    "line ends of old Macs, large": (
        text(LONG).replace("\n", "\r"),
        r"line 1 .*not CSV: a carriage return(?s:.*)old Mac",
        LONG,
    ),
    "a carriage return in an unquoted text": (
        "label,text\na,one\rtwo\nb,three\na,four\nb,five\n",
        r"line 2 .*not CSV: a carriage return(?s:.*)text that holds it is not quoted",
        [("a", "one two"), ("b", "three"), ("a", "four"), ("b", "five")],
    ),
    "quotes escaped by backslashes": (
        backslashed(PLAIN),
        r"line 3 .*not CSV(?s:.*)a backslash stands before its inner quotes",
        PLAIN,
    ),
    "the last quote escaped": (
        backslashed([("a", 'a screen of 5"'), ("b", "x"), ("a", "y"), ("b", "z")]),
        r"line 2 .*not CSV(?s:.*)a backslash stands before its inner quotes",
        [("a", 'a screen of 5"'), ("b", "x"), ("a", "y"), ("b", "z")],
    ),
    "blank behind quotes": (
        quoted('"{}" ,"{}" \n'),
        r"line 2 .*not CSV(?s:.*)a blank stands between a closing quote",
        PLAIN,
    ),
    "quotes as text between tabs": (
        'label\ttext\nham\t"yes" and no\nspam\tnow\nham\t"\nspam\tno\n',
        r"line 2 .*not CSV(?s:.*)tab-separated files often have quotes as part",
        [("ham", '"yes" and no'), ("spam", "now"), ("ham", '"'), ("spam", "no")],
    ),
    "inner quotes not doubled": (
        'label,text\na,"he said "no" then"\nb,c\n',
        r"line 2 .*not CSV(?s:.*)double a quote inside",
        None,
    ),
    "header only": ("label,text\n", "holds no rows", None),
    "two files with their headers": (
        text() + text(ROWS[:3]),
        r"line 17 .*repeats the header(?s:.*)two files",
        None,
    ),
    "missing label": (text(PLAIN) + ",text\n", r"line 14 .*label ''", None),
    "missing label written as text": (
        text([*((str(n % 3), f"text {n}") for n in range(9)), ("nan", "text")]),
        r"line 11 .*label 'nan'; all others are whole numbers(?s:.*)missing value",
        None,
    ),
    "Hub's numbers in AG News' form": (
        "".join(f'{(n + 1) % 4},"Title {n}","Text"\n' for n in range(8)),
        r"line 4 .*class '0', expected 1 to 4(?s:.*)the Hub counts from 0: add 1",
        None,
    ),
    "Excel workbook": (b"PK\x03\x04\x14\0", r"an Excel workbook(?s:.*)CSV UTF-8", None),
    "web page": ("<!DOCTYPE html>\n<html>", r"is a web page(?s:.*)download", None),
    "Git LFS pointer": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        r"is a Git LFS pointer(?s:.*)git lfs pull",
        None,
    ),
    "pickle": (pickle.dumps(list(ROWS)), r"is a pickle(?s:.*)parquet", None),
    "gzip without .gz": (gzip.compress(text().encode()), r"is gzip(?s:.*)\.gz", None),
    "a file with NULs": (
        text([*PLAIN, ("müßig", "a@b")]).replace("@", "\0"),
        r"line 14 .*NUL byte(?s:.*)damaged",
        [*PLAIN, ("müßig", "ab")],
    ),
}


# Correct texts in which some letters look like bytes of UTF-8 in CP1252.
CORRECT = (
    *("liberté\xa0»", "«\xa0À\xa0»", "IRMÃ…", "“CAFÉ”", "CAFÉ”", "Größe – 5\xa0€"),
    *("ESPAÑA", "Привет, мир", "你好", "ÀÉÈ", "Þór Ætíð", "30°C", "Straße 5½", "×÷"),
    *(
        "THÉÂTRE…",
        "NÃO…",
        "señor ñ…",
        "Łódź",
        "İzmir",
        "ΑΒΓ",
        "שלום",
        "سلام",
        "e\u0301",
    ),
)


@pytest.mark.parametrize("words", CORRECT)
def test_a_correct_text_is_not_taken_for_a_wrong_conversion(words: str) -> None:
    """Each with its control: the same text, with quotes, its UTF-8 taken for CP1252."""
    assert conversion.find(words) == []
    [damage, *_] = conversion.find(seen_by_windows(f"{words} „so“"))
    assert damage.undo is conversion.as_bytes


@pytest.mark.parametrize("name", ["old.csv", "old.jsonl"])
def test_a_file_of_which_a_part_was_converted_is_read_with_a_warning(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No command mends it: it would stop at what is correct."""
    rows: Rows = [("a", "donâ€™t"), ("b", "“yes”"), ("a", "grÃ¼n"), ("b", "no\x92")]
    path = tmp_path / name
    content = text(rows) if name.endswith(".csv") else as_json(rows, ensure_ascii=False)
    path.write_text(content, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert read(path) == sorted(rows)
    [record] = caplog.records  # one, although the rows are read several times
    assert re.search(r"line [12] of .*holds 'â€™', which was '’'", record.message)
    # Negative control: without the correct quotes the whole file can be undone.
    path.write_text(
        content.replace("“yes”", "yes").replace("\x92", ""), encoding="utf-8"
    )
    with pytest.raises(DataError, match="holds 'â€™', which was '’'"):
        read(path)


# Negative control: each of these rows looks like a fault of the table above.
LOOK_ALIKE: Rows = [
    ("nan", "the code of a language"),
    ("None", "a class of no feeling"),
    ("label", "a row that begins like the header"),
    ("nan", 'a backslash and a quote \\" in a text'),
    ("None", "a carriage return\rin quotes"),
    ("label", "<!DOCTYPE html> and [{ and version https://git-lfs"),
    ("nan", "caf\xe9\xa0„so“ – 5 €"),
    ("None", 'a quote, a blank and a comma: " ,'),
]


def test_rows_that_look_like_faults_are_read(tmp_path: Path) -> None:
    rows = [(label, f"{words} {n}") for n in range(2) for label, words in LOOK_ALIKE]
    for separator in (",", "\t"):
        path = tmp_path / "a.csv"
        head, quotes = f"label{separator}text\n", csv.QUOTE_ALL
        content = text(rows, head, delimiter=separator, quoting=quotes)
        path.write_text(content, encoding="utf-8", newline="")
        assert read(path) == sorted(rows)


def raw_of(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


@pytest.mark.parametrize("name", REFUSED_CSV)
def test_a_csv_file_is_refused_with_its_true_cause_and_a_cure_that_works(
    tmp_path: Path, name: str
) -> None:
    content, message, mended = REFUSED_CSV[name]
    path = tmp_path / "old.csv"
    path.write_bytes(raw_of(content))
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    run_the_cure(path, caught.value.fix, mended)


def run_the_cure(path: Path, fix: str, mended: Rows | None) -> None:
    """Run the command of a message, if it holds one; the new file must be read."""
    command = re.search(r'python -c "([^"]*)"', fix)
    assert (command is None) == (mended is None), fix
    if command is None or mended is None:
        return
    # Neither sh nor PowerShell changes anything between these double quotes.
    assert not set("$`!%") & set(command[1])
    assert r"\\" not in command[1]
    run = [sys.executable, "-c", command[1]]
    subprocess.run(run, cwd=path.parent, check=True, timeout=30)
    [new] = path.parent.glob("new.*")
    assert read(new) == sorted(mended)


# --- JSON lines -----------------------------------------------------------------------


def as_json(rows: Rows = ROWS, **dump: Any) -> str:
    return "".join(
        json.dumps({"label": label, "text": words}, **dump) + "\n"
        for label, words in rows
    )


RECORDS = [{"label": label, "text": words} for label, words in ROWS]
JSON: dict[str, tuple[str, Rows]] = {
    "positive control": (as_json(), ROWS),
    "not escaped": (as_json(ensure_ascii=False), ROWS),
    "mark and Windows line ends": (
        "\ufeff" + as_json(ensure_ascii=False).replace("\n", "\r\n"),
        ROWS,
    ),
    "labels true and false": (
        "".join(
            json.dumps({"label": n % 2 == 0, "text": str(n)}) + "\n" for n in range(8)
        ),
        [(str(n % 2 == 0), str(n)) for n in range(8)],
    ),
    "labels 0 and 1.0": (
        "".join(
            json.dumps({"label": (0, 1.0)[n % 2], "text": str(n)}) + "\n"
            for n in range(8)
        ),
        [(str(n % 2), str(n)) for n in range(8)],
    ),
    "more keys, in another order": (
        "".join(
            json.dumps(dict(reversed(list(record.items()))) | {"meta": {"id": [1]}})
            + "\n"
            for record in RECORDS
        ),
        ROWS,
    ),
}
REFUSED_JSON: dict[str, Refused] = {
    "an array": (json.dumps(RECORDS), r"no JSON object(?s:.*)json\.loads", ROWS),
    "a large array": (
        json.dumps([{"label": label, "text": words} for label, words in LONG]),
        r"line 1 .*JSON array of more than 1,000,000 bytes(?s:.*)json\.loads",
        LONG,
    ),
    "objects over several lines": (
        "\n".join(json.dumps(record, indent=1) for record in RECORDS),
        r"line 1 .*no JSON object(?s:.*)json\.loads",
        ROWS,
    ),
    "pandas' columns": (
        json.dumps({"label": {"0": "ham"}, "text": {"0": "see you"}}),
        r'no text in .text. but \{(?s:.*)orient="records", lines=True',
        None,
    ),
    "label NaN": (as_json() + '{"label": NaN, "text": "a"}\n', "line 13 .*nan", None),
    "label null": (
        as_json() + '{"label": null, "text": "a"}\n',
        "line 13 .*None",
        None,
    ),
    "several labels": (
        as_json() + '{"label": ["a", "b"], "text": "a"}\n',
        r"line 13 .*label \['a', 'b'\]",
        None,
    ),
    "UTF-16, as PowerShell writes": (
        as_json().encode("utf-16"),
        r"is UTF-16(?s:.*)decode\('UTF-16'\)",
        ROWS,
    ),
}


@pytest.mark.parametrize("name", JSON)
def test_json_lines_are_read_as_meant(tmp_path: Path, name: str) -> None:
    content, rows = JSON[name]
    path = tmp_path / "a.jsonl"
    path.write_bytes(content.encode())
    assert read(path) == sorted(rows)


@pytest.mark.parametrize("name", REFUSED_JSON)
def test_json_lines_are_refused_with_their_true_cause_and_a_cure_that_works(
    tmp_path: Path, name: str
) -> None:
    content, message, mended = REFUSED_JSON[name]
    path = tmp_path / "old.json"
    path.write_bytes(raw_of(content))
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    run_the_cure(path, caught.value.fix, mended)


@pytest.mark.parametrize("content", ['[{"label": "a",\n', '[\n{"label": "a"}\n]\n'])
def test_json_under_the_name_of_csv_is_recognised(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(DataError, match=r"holds JSON(?s:.*)\.jsonl"):
        read(path)


# --- Parquet --------------------------------------------------------------------------

LABELS, TEXTS = [label for label, _ in ROWS], [words for _, words in ROWS]
NUMBERED: Rows = [(str(n % 2), words) for n, (_, words) in enumerate(ROWS)]


def table(**columns: Any) -> pyarrow.Table:
    return pyarrow.table({"text": TEXTS, "label": LABELS} | columns)


def numbers(kind: pyarrow.DataType, *, missing: object = 0) -> pyarrow.Array:
    """The labels 0 and 1, and for the last row something else."""
    values: list[Any] = [n % 2 for n in range(len(ROWS))]
    if missing != 0:
        values[-1] = missing
    return pyarrow.array(values, kind)


def named(labels: Any, names: list[str]) -> pyarrow.Table:
    """As `datasets` stores a `ClassLabel`."""
    feature = {"names": names, "_type": "ClassLabel"}
    features = {"text": {"dtype": "string", "_type": "Value"}, "label": feature}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return table(label=labels).replace_schema_metadata(metadata)


def from_pandas(**columns: Any) -> pyarrow.Table:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": TEXTS, "label": LABELS} | columns)
    return pyarrow.Table.from_pandas(frame.set_index(frame.index + 7))


PARQUET: dict[str, tuple[Callable[[], pyarrow.Table], Rows]] = {
    "positive control": (table, ROWS),
    "large strings": (
        lambda: table(text=pyarrow.array(TEXTS, pyarrow.large_string())),
        ROWS,
    ),
    "string views": (
        lambda: table(text=pyarrow.array(TEXTS, pyarrow.string_view())),
        ROWS,
    ),
    "labels as a dictionary": (
        lambda: table(label=pyarrow.array(LABELS).dictionary_encode()),
        ROWS,
    ),
    "texts as a dictionary": (
        lambda: table(text=pyarrow.array(TEXTS).dictionary_encode()),
        ROWS,
    ),
    "pandas with an index": (from_pandas, ROWS),
    "pandas' categories": (
        lambda: from_pandas(label=pytest.importorskip("pandas").Categorical(LABELS)),
        ROWS,
    ),
    "pandas' nullable integers": (
        lambda: from_pandas(
            label=pytest.importorskip("pandas").array(
                [n % 2 for n in range(len(ROWS))], "Int64"
            )
        ),
        NUMBERED,
    ),
    "int8": (lambda: table(label=numbers(pyarrow.int8())), NUMBERED),
    "uint64": (lambda: table(label=numbers(pyarrow.uint64())), NUMBERED),
    "floats": (lambda: table(label=numbers(pyarrow.float64())), NUMBERED),
    "decimals, as databases export": (
        lambda: table(label=numbers(pyarrow.decimal128(5, 2))),
        NUMBERED,
    ),
    "bool": (
        lambda: table(label=[n % 2 == 1 for n in range(len(ROWS))]),
        [(str(n == "1"), words) for n, words in NUMBERED],
    ),
    "labels with blanks": (lambda: table(label=[f" {a} " for a in LABELS]), ROWS),
    "ClassLabel": (
        lambda: named(numbers(pyarrow.int64()), ["müßig", "sehr gut"]),
        [(("müßig", "sehr gut")[n == "1"], words) for n, words in NUMBERED],
    ),
    "ClassLabel of numbers with zeros before them": (
        lambda: named(numbers(pyarrow.int64()), ["01", "02"]),
        [(("1", "2")[n == "1"], words) for n, words in NUMBERED],
    ),
    "ClassLabel with blanks and accents in two forms": (
        lambda: named(
            numbers(pyarrow.int64()), [unicodedata.normalize("NFD", "müßig "), "gut"]
        ),
        [(("müßig", "gut")[n == "1"], words) for n, words in NUMBERED],
    ),
    "lists and structs beside": (
        lambda: table(tokens=[["a", "b"]] * 12, meta=[{"text": "no", "label": 3}] * 12),
        ROWS,
    ),
    "dots in the names of other columns": (
        lambda: table(**{"text.raw": ["no"] * 12, "label.id": [3] * 12}),
        ROWS,
    ),
    "columns in capitals": (lambda: table().rename_columns(["TEXT", "Label"]), ROWS),
}


@pytest.mark.parametrize("packing", ["snappy", "none"])
@pytest.mark.parametrize("name", PARQUET)
def test_a_parquet_file_is_read_as_meant(
    tmp_path: Path, name: str, packing: str
) -> None:
    build, rows = PARQUET[name]
    path = tmp_path / "a.parquet"
    parquet.write_table(build(), path, compression=packing, row_group_size=5)
    assert parquet.ParquetFile(path).num_row_groups == 3
    assert read(path) == sorted(rows)


def shards(folder: Path, *names: str) -> Path:
    num_rows = len(ROWS) // len(names)
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table().slice(number * num_rows, num_rows), path)
    return folder


def test_a_folder_of_shards_without_splits_is_read_like_one_file(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "mine.parquet"
    shards(folder, "part-00000.snappy.parquet", "part-00001.snappy.parquet")
    (folder / "_SUCCESS").touch()
    assert read(folder) == sorted(ROWS)
    source = open_source(str(folder))
    test = list(source.rows("test", num_rows=None, seed=0))
    assert len(test) == 2  # one of each class
    # Negative control: with splits, each file belongs to its own, and none to both.
    divided = shards(tmp_path / "two", "train-0.parquet", "test-0.parquet")
    assert len(list(open_source(str(divided)).rows("test", num_rows=None, seed=0))) == 6


def test_a_folder_for_each_split_is_read_by_its_splits(tmp_path: Path) -> None:
    folder = shards(
        tmp_path, "train/0000.parquet", "train/0001.parquet", "test/0000.parquet"
    )
    for split, num_rows in (("train", 8), ("test", 4)):
        rows = open_source(str(folder)).rows(split, num_rows=None, seed=0)
        assert len(list(rows)) == num_rows


def test_a_folder_without_a_test_split_is_still_refused(tmp_path: Path) -> None:
    folder = shards(tmp_path, "train-0.parquet", "validation-0.parquet")
    with pytest.raises(DataError, match="holds no rows for split 'test'"):
        read(folder)


def test_a_shard_without_a_column_is_named(tmp_path: Path) -> None:
    folder = shards(tmp_path, "part-0.parquet", "part-1.parquet")
    parquet.write_table(
        table().rename_columns(["text", "y"]), folder / "part-1.parquet"
    )
    message = r"part-1\.parquet has no column 'label'; its columns are 'text', 'y'"
    with pytest.raises(DataError, match=message):
        read(folder)


REFUSED_PARQUET: dict[str, tuple[Callable[[], pyarrow.Table], str]] = {
    "lists of tokens as text": (
        lambda: table(text=[["a", "b"]] * 12),
        r"row 1 .*no text but \['a', 'b'\]",
    ),
    "structs as text": (
        lambda: table(text=[{"en": "a", "de": "b"}] * 12),
        r"row 1 .*no text but \{'en': 'a'",
    ),
    "bytes as text": (
        lambda: table(text=[b"a"] * 12),
        r"row 1 .*no text but b'a'(?s:.*)store text as strings",
    ),
    "missing text": (
        lambda: table(text=[*TEXTS[:-1], None]),
        r"row 12 .*no text but None",
    ),
    "missing label": (
        lambda: table(label=[*LABELS[:-1], None]),
        r"row 12 .*label None",
    ),
    "missing among integers": (
        lambda: table(label=numbers(pyarrow.int64(), missing=None)),
        r"row 12 .*label None",
    ),
    "NaN among floats": (
        lambda: table(label=numbers(pyarrow.float64(), missing=float("nan"))),
        r"row 12 .*label nan",
    ),
    "NaN as text among floats as text": (
        lambda: table(label=[*["0.0", "1.0"] * 5, "1.0", "nan"]),
        r"row 12 .*label 'nan'; all others are whole numbers",
    ),
    "half a class": (
        lambda: table(
            label=numbers(pyarrow.decimal128(5, 2), missing=decimal.Decimal("0.5"))
        ),
        r"row 12 .*label Decimal\('0\.50'\)",
    ),
    "one-hot labels": (lambda: table(label=[[0, 1]] * 12), r"row 1 .*label \[0, 1\]"),
    "dates as labels": (
        lambda: table(label=numbers(pyarrow.timestamp("s"))),
        r"row 1 .*label datetime",
    ),
    "unlabelled rows of datasets": (
        lambda: named(numbers(pyarrow.int64(), missing=-1), ["a", "b"]),
        r"row 12 .*label -1, expected 0 to 1(?s:.*)-1 and None mark rows without",
    ),
    "a number that has no name": (
        lambda: named(numbers(pyarrow.int64(), missing=2), ["a", "b"]),
        r"row 12 .*label 2, expected 0 to 1",
    ),
    "two names that are one": (
        lambda: named(numbers(pyarrow.int64()), ["1", "01"]),
        r"calls its classes '1', '01'(?s:.*)two of them are called the same",
    ),
    "a class without a name": (
        lambda: named(numbers(pyarrow.int64()), ["a", " "]),
        r"calls its classes 'a', ' '(?s:.*)one has no name",
    ),
    "text and label inside a struct": (
        lambda: pyarrow.table({"row": [{"text": "a", "label": 1}] * 12}),
        r"a\.parquet: its columns are 'row'",
    ),
    "no rows": (lambda: table().slice(0, 0), "holds no rows"),
    "two labels": (
        lambda: table(category=LABELS),
        "its columns are 'text', 'label', 'category'",
    ),
}


@pytest.mark.parametrize("name", REFUSED_PARQUET)
def test_a_parquet_file_is_refused_with_its_true_cause(
    tmp_path: Path, name: str
) -> None:
    build, message = REFUSED_PARQUET[name]
    path = tmp_path / "a.parquet"
    parquet.write_table(build(), path)
    with pytest.raises(DataError, match=message):
        read(path)


DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut off": (lambda raw: raw[:-40], r"cannot read .*a\.parquet"),
    "a page overwritten": (
        lambda raw: raw[:8] + b"\xff" * (len(raw) // 4) + raw[8 + len(raw) // 4 :],
        r"cannot read .*a\.parquet",
    ),
    "empty": (lambda raw: b"", r"cannot read .*a\.parquet"),
    "CSV in truth": (lambda raw: text().encode(), r"cannot read .*a\.parquet"),
    "packed with gzip": (gzip.compress, r"a\.parquet is gzip, expected parquet"),
    "Git LFS pointer": (
        lambda raw: b"version https://git-lfs.github.com/spec/v1\n",
        r"a\.parquet is a Git LFS pointer(?s:.*)git lfs pull",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_parquet_file_is_named(tmp_path: Path, name: str) -> None:
    damage, message = DAMAGED[name]
    path = tmp_path / "a.parquet"
    parquet.write_table(table(), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        read(path)


def test_control_characters_in_parquet_are_reported_and_the_rows_are_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No command converts parquet back, and what is left can be read: no error."""
    path = tmp_path / "a.parquet"
    spoilt = [*TEXTS[:-2], "don\x92t", "caf\xe9 \x96 open"]
    parquet.write_table(table(text=spoilt), path)
    with caplog.at_level(logging.WARNING):
        assert len(read(path)) == len(ROWS)
    [record] = caplog.records  # once, although the rows are read several times
    assert "row 11 of" in record.message
    assert "U+0092" in record.message
    assert "there are 2;" in record.message
    assert "Windows file (CP1252) was read as if it were Latin-1" in record.message
    caplog.clear()
    parquet.write_table(table(), tmp_path / "b.parquet")
    read(tmp_path / "b.parquet")
    assert not caplog.records  # negative control: umlauts are no control characters


def test_a_feather_file_is_named(tmp_path: Path) -> None:
    from pyarrow import feather

    path = tmp_path / "a.feather"
    feather.write_feather(table(), str(path))
    with pytest.raises(DataError, match=r"Arrow or Feather(?s:.*)parquet"):
        read(path)


def test_ag_news_form_names_the_classes_and_the_hubs_numbers(tmp_path: Path) -> None:
    """Whether 1, 2, 3 were meant from 0 cannot be told: both numberings are shown."""
    path = tmp_path / "a.csv"
    path.write_text("".join(f'{1 + n % 3},"T {n}","d"\n' for n in range(12)))
    source = open_source(str(path))
    assert source.class_names == LABEL_NAMES
    assert "classes 1 to 4 (on the Hub 0 to 3)" in source.form
    # With a header of the file's own, numbers are their own names.
    path.write_text("label,text\n" + "".join(f"{1 + n % 3},T {n}\n" for n in range(12)))
    assert open_source(str(path)).class_names == ("1", "2", "3")
