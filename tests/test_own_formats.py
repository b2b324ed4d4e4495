"""Proofs for the forms of files: read as meant, or refused with the true cause."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from distrinews.data.columns import ColumnsWanted
from distrinews.data.labels import LABEL_NAMES
from distrinews.data.sources import Source, open_source
from distrinews.errors import DataError

SPAM = [("ham", "see you; at, noon"), ("spam", 'win | "cash" now'), ("ham", "ok\tthen")]
SPAM_ROWS = [(label, f"{text} {k}") for k in range(4) for label, text in SPAM]
PLACES = ColumnsWanted("2", "1")


def as_csv(rows: list[tuple[str, str]], separator: str = ",", head: str = "") -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, lineterminator="\n")
    writer.writerows(rows)
    return (head + out.getvalue()).encode()


def as_json(rows: list[tuple[str, str]]) -> bytes:
    records = [{"id": 7, "label": label, "text": text} for label, text in rows]
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def read(source: Source) -> list[tuple[str, str]]:
    """Every row of both splits: name of its label, text."""
    source.check()
    return sorted(
        (source.class_names[row.label], row.text)
        for split in ("train", "test")
        for row in source.rows(split, num_rows=None, seed=0)
    )


def read_file(
    path: Path, content: bytes, wanted: ColumnsWanted | None = None
) -> list[tuple[str, str]]:
    path.write_bytes(content)
    return read(open_source(str(path), repaired=False, wanted=wanted))


SAME = {
    "commas": ("a.csv", as_csv(SPAM_ROWS, ",", "label,text\n"), None),
    "semicolons": ("a.csv", as_csv(SPAM_ROWS, ";", "label;text\n"), None),
    "tabs": ("a.tsv", as_csv(SPAM_ROWS, "\t", "label\ttext\n"), None),
    "pipes": ("a.csv", as_csv(SPAM_ROWS, "|", "label|text\n"), None),
    "sep=": ("a.csv", as_csv(SPAM_ROWS, ";", "sep=;\nlabel;text\n"), None),
    "an odd sep=": ("a.csv", as_csv(SPAM_ROWS, "~", "sep=~\nlabel~text\n"), None),
    "capitals and blanks": ("a.csv", as_csv(SPAM_ROWS, ",", "Label , TEXT\n"), None),
    "byte order mark": ("a.csv", as_csv(SPAM_ROWS, ",", "\ufefflabel,text\n"), None),
    "Windows line ends": (
        "a.csv",
        as_csv(SPAM_ROWS, ",", "label,text\n").replace(b"\n", b"\r\n"),
        None,
    ),
    "packed": ("a.csv.gz", gzip.compress(as_csv(SPAM_ROWS, ",", "label,text\n")), None),
    "own names": (
        "a.csv",
        as_csv(SPAM_ROWS, ",", "kind,sms\n"),
        ColumnsWanted("sms", "kind"),
    ),
    "no header": ("a.csv", as_csv(SPAM_ROWS), PLACES),
    "no header, tabs": ("a.txt", as_csv(SPAM_ROWS, "\t"), PLACES),
    "JSON lines": ("a.jsonl", as_json(SPAM_ROWS), None),
    "JSON lines, packed": ("a.ndjson.gz", gzip.compress(as_json(SPAM_ROWS)), None),
    "JSON lines, blank ones": ("a.json", as_json(SPAM_ROWS) + b"\n\n", None),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_rows_in_other_forms_are_the_same_rows(
    tmp_path: Path, name: str
) -> None:
    file, content, wanted = SAME[name]
    assert read_file(tmp_path / file, content, wanted) == sorted(SPAM_ROWS)


def test_a_blank_before_a_quote_is_not_part_of_the_text(tmp_path: Path) -> None:
    row = '"{}", "Talks, then war", "say ""no"" {}"\n'
    content = "".join(row.format(1 + k % 4, k) for k in range(8)).encode()
    got = read_file(tmp_path / "a.csv", content)
    assert {text for _, text in got} == {
        f'Talks, then war say "no" {k}' for k in range(8)
    }


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["1", "2", "3"], ("1", "2", "3")),
        (["0", "1"], ("0", "1")),
        (["10", "9", "2"], ("2", "9", "10")),
        (["1.0", "2.0"], ("1", "2")),
        (["0", "4"], ("0", "4")),
        (["good", "bad", "so-so"], ("bad", "good", "so-so")),
        (["b", "10", "9"], ("10", "9", "b")),
    ],
)
def test_labels_are_numbered_by_value_and_not_by_their_order_in_the_file(
    tmp_path: Path, labels: list[str], names: tuple[str, ...]
) -> None:
    for order in (labels, labels[::-1]):
        rows = [(label, f"text {label} {k}") for k in range(4) for label in order]
        path = tmp_path / "a.csv"
        got = read_file(path, as_csv(rows, ",", "label,text\n"))
        assert open_source(str(path)).class_names == names
        # Each row has the name that it had in the file; "1.0" is 1.
        assert all(text.split()[1].removesuffix(".0") == name for name, text in got)


def test_three_reviews_are_not_called_world_sports_and_business(tmp_path: Path) -> None:
    """Numbers without names are their own names; AG News' form alone means news."""
    table = pyarrow.table({"text": list("abcdef") * 2, "label": [0, 1, 2] * 4})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert open_source(str(tmp_path / "a.parquet")).class_names == ("0", "1", "2")
    rows = as_csv(
        [(str(1 + k % 3), f"text {k}") for k in range(12)], ",", "label,text\n"
    )
    (tmp_path / "a.csv").write_bytes(rows)
    assert open_source(str(tmp_path / "a.csv")).class_names == ("1", "2", "3")
    news = as_csv([(str(1 + k % 3), f"t {k},d") for k in range(12)]).replace(b'"', b"")
    (tmp_path / "news.csv").write_bytes(news)
    assert open_source(str(tmp_path / "news.csv")).class_names == LABEL_NAMES


def saved_by_datasets(folder: Path, named: bool) -> None:
    import datasets

    names = ["ham", "spam"]
    columns = {
        "label": [names.index(label) for label, _ in SPAM_ROWS],
        "text": [text for _, text in SPAM_ROWS],
    }
    if not named:
        columns["label"] = [label for label, _ in SPAM_ROWS]
    data = datasets.Dataset.from_dict(columns)
    if named:
        data = data.cast_column("label", datasets.ClassLabel(names=names))
    data.save_to_disk(folder)


@pytest.mark.parametrize("named", [True, False])
def test_a_folder_saved_by_datasets_is_read_as_datasets_reads_it(
    tmp_path: Path, named: bool
) -> None:
    import datasets

    saved_by_datasets(tmp_path / "one", named)
    one = open_source(str(tmp_path / "one"), repaired=False)
    assert one.class_names == ("ham", "spam")
    assert read(one) == sorted(SPAM_ROWS)
    data = datasets.load_from_disk(tmp_path / "one")
    datasets.DatasetDict(train=data, test=data).save_to_disk(tmp_path / "two")
    two = open_source(str(tmp_path / "two"), repaired=False)
    assert read(two) == sorted(SPAM_ROWS * 2)  # nothing is cut from train


def test_a_single_parquet_file_serves_both_splits(tmp_path: Path) -> None:
    columns = {name: [row[k] for row in SPAM_ROWS] for k, name in enumerate(["y", "x"])}
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    wanted = ColumnsWanted(text="x", label="y")
    source = open_source(str(tmp_path / "a.parquet"), repaired=False, wanted=wanted)
    assert read(source) == sorted(SPAM_ROWS)


def csv_text(*lines: str) -> bytes:
    return ("\n".join(["label,text", *lines]) + "\n").encode()


GOOD = [f"{label},text {k}" for k in range(4) for label in ("ham", "spam")]
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "unknown header": ("a.csv", b"mood,remark\nbad,never again\n", "'mood', 'remark'"),
    "two labels": ("a.csv", b"label,class,text\na,b,c\n", "'label', 'class', 'text'"),
    "JSON named CSV": ("a.csv", as_json(SPAM), "holds JSON(?s:.*)jsonl"),
    "JSON array": ("a.json", b'[{"label": 1, "text": "a"}]\n', r"line 1(?s:.*)json\.l"),
    "array over lines": ("a.json", b'[\n{"label": 1}\n]\n', r"line 1(?s:.*)json\.l"),
    "broken JSON": ("a.jsonl", as_json(SPAM) + b'{"label": "ham"\n', "line 4 of"),
    "JSON without text": (
        "a.jsonl",
        as_json(SPAM) + b'{"label": "ham"}\n',
        "line 4 .*no text in 'text' but None",
    ),
    "unknown keys": (
        "a.jsonl",
        b'{"mood": "bad", "remark": "x"}\n',
        "'mood', 'remark'",
    ),
    "no label": ("a.csv", csv_text(*GOOD, ",text"), "line 10 .*label ''"),
    "a comma more": ("a.csv", csv_text(*GOOD, "ham,a, b"), "line 10 .*3 column"),
    "too many classes": (
        "a.csv",
        csv_text(*(f"id{k},text" for k in range(1001))),
        "line 1002 .*more than 1,000 different labels",
    ),
    "one class": ("a.csv", csv_text(*["ham,text"] * 9), r"one class \(ham\)"),
    "Windows' quotes": (
        "a.csv",
        csv_text(*GOOD) + b"ham,\x93yes\x94\n",
        r"line 10 .*0x93(?s:.*)decode\('CP1252'\)",
    ),
    "converted as Latin-1": (
        "a.csv",
        csv_text(*GOOD) + b"ham,\x93yes\x94\n".decode("latin-1").encode(),
        r"line 10 .*U\+0093(?s:.*)decode\('cp1252'\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_as_meant_is_refused_with_its_cause(
    tmp_path: Path, name: str
) -> None:
    file, content, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        read_file(tmp_path / file, content)


def test_the_cure_for_windows_quotes_gives_the_quotes(tmp_path: Path) -> None:
    """Negative control: what the old advice gave is refused above."""
    old = csv_text(*GOOD) + b"ham,\x93yes\x94\n"
    new = old.decode("cp1252").encode()
    assert ("ham", "\u201cyes\u201d") in read_file(tmp_path / "a.csv", new)


def test_columns_asked_for_that_are_not_there_are_named(tmp_path: Path) -> None:
    content = as_csv(SPAM_ROWS, ",", "label,text\n")
    wanted = ColumnsWanted("text,remark", "label")
    with pytest.raises(DataError, match="no column 'remark'"):
        read_file(tmp_path / "a.csv", content, wanted)


def test_a_test_label_that_no_training_row_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(csv_text(*GOOD))
    (tmp_path / "test.csv").write_bytes(csv_text(*GOOD, "new,text"))
    message = r"line 10 of .*test\.csv has label 'new'.*ham, spam(?s:.*)no training row"
    with pytest.raises(DataError, match=message):
        open_source(str(tmp_path)).check()


def labelled(path: Path, labels: list[object]) -> str:
    columns = {"text": [f"text {k}" for k in range(len(labels))], "label": labels}
    parquet.write_table(pyarrow.table(columns), path)
    return str(path)


@pytest.mark.parametrize(
    ("labels", "outcome"),
    [
        (["spam", "ham"] * 4, None),
        ([1, 0] * 4, None),  # the Hub's numbering
        ([2, 1] * 4, "label '2'"),
        (["eggs", "ham"] * 4, "label 'eggs'.*ham, spam(?s:.*)no output"),
    ],
)
def test_rows_for_a_model_are_numbered_as_the_model_numbers(
    tmp_path: Path, labels: list[object], outcome: str | None
) -> None:
    data = labelled(tmp_path / "a.parquet", labels)
    source = open_source(data, model_classes=("ham", "spam"))
    if outcome is None:
        source.check()
        by_text = dict.fromkeys(f"text {k}" for k in range(8))
        for split in ("train", "test"):
            rows = source.rows(split, num_rows=None, seed=0)
            by_text |= {row.text: row.label for row in rows}
        assert list(by_text.values()) == [1, 0] * 4
    else:
        with pytest.raises(DataError, match=outcome):
            source.check()


def test_a_models_class_01_is_the_01_of_a_csv_file(tmp_path: Path) -> None:
    """As a model of `datasets`' names has it; a CSV file's 01 is read as 1."""
    path = tmp_path / "a.csv"
    path.write_bytes(csv_text(*(f"0{1 + k % 2},text {k}" for k in range(8))))
    source = open_source(str(path), model_classes=("02", "01"))
    labels = {
        row.text: row.label
        for split in ("train", "test")
        for row in source.rows(split, num_rows=None, seed=0)
    }
    assert labels == {f"text {k}": 1 - k % 2 for k in range(8)}
    # Negative control: where the model has a class "1", too, that one is meant.
    both = open_source(str(path), model_classes=("1", "2", "01", "02"))
    assert {row.label for row in both.rows("train", num_rows=None, seed=0)} == {0, 1}


def test_numbers_that_could_count_from_0_or_1_are_not_given_to_names(
    tmp_path: Path,
) -> None:
    data = labelled(tmp_path / "a.parquet", [1, 2] * 4)
    source = open_source(data, model_classes=("a", "b", "c"))
    with pytest.raises(DataError, match="none of them is 0"):
        source.check()


def test_a_model_of_other_classes_is_not_judged_by_news() -> None:
    open_source("newswire", model_classes=LABEL_NAMES)
    for name in ("newswire", "ag_news"):
        with pytest.raises(DataError, match="ham, spam"):
            open_source(name, model_classes=("ham", "spam"))


def test_columns_and_model_stand_in_the_fingerprint(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(as_csv(SPAM_ROWS, ",", "label,text\n"))
    ways: list[Callable[[], Source]] = [
        lambda: open_source(str(path)),
        lambda: open_source(str(path), wanted=ColumnsWanted(text="text")),
        lambda: open_source(str(path), model_classes=("spam", "ham")),
    ]
    names = [way().fingerprint("train", num_rows=None, seed=0) for way in ways]
    assert len(set(names)) == 3
