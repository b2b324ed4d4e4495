"""Proofs for data.sources: the same rows again, and every bad file is named."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import socket
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from distrinews.data import newswire, sources
from distrinews.data.arrow_rows import read_parquet
from distrinews.data.labels import LABEL_NAMES
from distrinews.data.sources import Row, open_source
from distrinews.errors import DataError

SHARED = Path(__file__).parents[1].parent / "shared" / "data" / "ag_news"
COMMIT = "eb185aade064a813bc0b7f42de02595523103ca4"
ROW = '"3","A title","and more"\n'  # becomes Row("A title and more", 2)
OTHER = '"1","War","and peace"\n'
TRAIN_PARQUET = "train-00000-of-00001.parquet"


def made_up(num_rows: int, *, start: int = 0) -> list[Row]:
    """Rows that differ in their text; the classes come in turn."""
    return [Row(f"Title {i} text {i}", i % 4) for i in range(start, start + num_rows)]


def as_csv(rows: Sequence[Row]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    for text, label in rows:
        title, _, rest = text.partition(" ")
        writer.writerow([label + 1, title, rest])
    return out.getvalue().encode()


def as_parquet(rows: Sequence[Row], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"text": [row.text for row in rows], "label": [row.label for row in rows]}
    parquet.write_table(pyarrow.table(columns), path)


def csv_folder(folder: Path, train: bytes, test: bytes | None = None) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "train.csv").write_bytes(train)
    (folder / "test.csv").write_bytes(test or as_csv(made_up(8, start=9000)))
    return str(folder)


def hub_folder(folder: Path, train: Sequence[Row], test: Sequence[Row]) -> str:
    as_parquet(train, folder / "data" / TRAIN_PARQUET)
    as_parquet(test, folder / "data" / "test-00000-of-00001.parquet")
    return str(folder)


def take(
    data: str, split: str = "train", num: int | None = None, seed: int = 0
) -> list:
    return list(open_source(data).rows(split, num_rows=num, seed=seed))


# --- Newswire ----------------------------------------------------------------------


def test_newswire_gives_the_generators_own_rows() -> None:
    rows = take("newswire", "test", 50, seed=3)
    assert rows == [newswire.story(i, seed=3, split="test") for i in range(50)]
    assert all(type(row) is Row for row in rows)


def test_newswire_cannot_give_all_its_rows() -> None:
    with pytest.raises(DataError, match=r"all its rows(?s:.*)fix:  pass a number"):
        open_source("newswire").rows("train", num_rows=None, seed=0)


def test_newswires_fingerprint_changes_with_its_generator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = open_source("newswire").fingerprint("train", num_rows=9, seed=0)
    assert before == open_source("newswire").fingerprint("train", num_rows=9, seed=0)
    monkeypatch.setattr(newswire, "GENERATOR_VERSION", "next")
    assert before != open_source("newswire").fingerprint("train", num_rows=9, seed=0)


# --- Your own files ----------------------------------------------------------------


def test_a_row_is_title_blank_description_and_its_class_less_one(
    tmp_path: Path,
) -> None:
    rows = take(csv_folder(tmp_path, (ROW + OTHER).encode()))
    assert rows == [("A title and more", 2), ("War and peace", 0)]
    assert LABEL_NAMES[rows[0].label] == "Business"


@pytest.mark.parametrize(
    "text",
    [
        ROW + OTHER,
        "Class Index,Title,Description\n" + ROW + OTHER,
        "\ufeffclass,title,description\n" + ROW + OTHER,
        "\ufeff" + ROW + OTHER,
        (ROW + OTHER).replace("\n", "\r\n"),
        ROW + "\n" + OTHER + "\n\n",
        "3,A title,and more\n1,War,and peace",
        '3,"A title","and\nmore"\n' + OTHER,
    ],
    ids=[
        "official",
        "header",
        "mark and header",
        "mark",
        "Windows",
        "empty lines",
        "no quotes, no last line end",
        "line break in a quote",
    ],
)
def test_the_ways_in_which_people_write_the_same_csv(tmp_path: Path, text: str) -> None:
    rows = take(csv_folder(tmp_path, text.encode()))
    assert rows == [("A title and more", 2), ("War and peace", 0)]


def test_a_header_is_recognised_on_line_1_only(tmp_path: Path) -> None:
    """Negative control: elsewhere it is a bad class."""
    data = csv_folder(tmp_path, (ROW + "Class Index,Title,Description\n").encode())
    with pytest.raises(DataError, match="line 2 .* has class 'Class Index'"):
        take(data)


def test_plain_packed_and_parquet_files_give_the_same_rows(tmp_path: Path) -> None:
    train, test = made_up(40), made_up(12, start=100)
    plain = csv_folder(tmp_path / "plain", as_csv(train), as_csv(test))
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "train.csv.gz").write_bytes(gzip.compress(as_csv(train)))
    (packed / "test.csv.gz").write_bytes(gzip.compress(as_csv(test)))
    hub = hub_folder(tmp_path / "hub", train, test)
    for data in (plain, str(packed), hub):
        open_source(data).check()
        assert take(data) == train
        assert take(data, "test") == test
        assert take(data, num=10, seed=5) == take(plain, num=10, seed=5)


def test_rows_are_repaired_and_only_if_asked_for(tmp_path: Path) -> None:
    quirk = r"Oil #39;s up \$5"
    rows = [Row(quirk, 0), Row("Plain text", 1)]
    for data in (
        csv_folder(tmp_path / "csv", as_csv(rows)),
        hub_folder(tmp_path / "hub", rows, rows),
    ):
        assert take(data)[0].text == "Oil's up $5"
        raw = open_source(data, repaired=False)
        assert next(raw.rows("train", num_rows=None, seed=0)).text == quirk


# --- Samples -----------------------------------------------------------------------


def test_a_sample_has_the_size_asked_for_and_repeats_with_its_seed(
    tmp_path: Path,
) -> None:
    everything = made_up(400)
    data = csv_folder(tmp_path, as_csv(everything))
    for num in (7, 100, 399, 400):
        sample = take(data, num=num, seed=1)
        assert len(sample) == len(set(sample)) == num
        assert sample == [row for row in everything if row in set(sample)]  # in order
        assert sample == take(data, num=num, seed=1)
    # Negative control: another seed, another sample.
    assert take(data, num=100, seed=1) != take(data, num=100, seed=2)


def test_a_sample_of_a_file_sorted_by_class_holds_all_classes_alike(
    tmp_path: Path,
) -> None:
    everything = sorted(made_up(4000), key=lambda row: row.label)
    sample = take(csv_folder(tmp_path, as_csv(everything)), num=800, seed=4)
    # 200 each are expected; 11 is the standard deviation (hypergeometric): sqrt(800 *
    # 1/4 * 3/4 * (4000 - 800) / 3999). WHY 5 of them: one seed in a million fails.
    assert all(145 < n < 255 for n in Counter(r.label for r in sample).values())
    # Negative control: the first 800 rows are of one class.
    assert len({row.label for row in everything[:800]}) == 1


def test_every_row_has_the_same_chance(tmp_path: Path) -> None:
    data = csv_folder(tmp_path, as_csv(made_up(20)))
    drawn = Counter(row for seed in range(400) for row in take(data, num=10, seed=seed))
    # Each row is drawn in half of 400 samples: 200, standard deviation 10.
    assert len(drawn) == 20
    assert all(150 < times < 250 for times in drawn.values())


def test_more_rows_than_there_are_is_an_error_that_says_how_many(
    tmp_path: Path,
) -> None:
    data = csv_folder(tmp_path, as_csv(made_up(40)))
    message = "has 40 rows; 41 were asked for(?s:.*)ask for 40 rows or fewer"
    with pytest.raises(DataError, match=message):
        open_source(data).rows("train", num_rows=41, seed=0)
    assert len(take(data, num=40)) == 40


@pytest.mark.parametrize(("split", "num"), [("dev", 1), ("train", 0), ("test", -1)])
@pytest.mark.parametrize("data", ["newswire", "folder"])
def test_an_unknown_split_or_no_rows_is_an_error(
    tmp_path: Path, data: str, split: str, num: int
) -> None:
    if data == "folder":
        data = csv_folder(tmp_path, as_csv(made_up(8)))
    with pytest.raises(DataError, match=f"{num} rows of split '{split}'"):
        open_source(data).rows(split, num_rows=num, seed=0)
    with pytest.raises(DataError):
        open_source(data).fingerprint(split, num_rows=num, seed=0)


def test_rows_are_streamed_and_not_kept(tmp_path: Path) -> None:
    num_rows, text = 5_000, "word " * 200  # 1,000 characters each: 5 MB in all
    rows = [Row(f"{text}{i}", i % 4) for i in range(num_rows)]
    path = tmp_path / "rows.csv"
    path.write_bytes(as_csv(rows))
    del rows
    tracemalloc.start()
    count = sum(1 for _ in open_source(str(path)).rows("train", num_rows=None, seed=0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    kept = take(str(path))
    _, peak_when_kept = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == len(kept) == 4_500
    assert peak < 1_000_000
    assert peak_when_kept > 4_500_000  # negative control: the measurement sees rows


# --- A single file -----------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_a_single_file_is_cut_into_nine_tenths_and_one_tenth(
    tmp_path: Path, packed: bool
) -> None:
    everything = made_up(400)
    path = tmp_path / ("mine.csv.gz" if packed else "mine.csv")
    raw = as_csv(everything)
    path.write_bytes(gzip.compress(raw) if packed else raw)
    open_source(str(path)).check()
    train, test = take(str(path)), take(str(path), "test")
    assert (len(train), len(test)) == (360, 40)
    assert Counter(row.label for row in test) == {0: 10, 1: 10, 2: 10, 3: 10}
    assert sorted(train + test) == sorted(everything)
    # Another seed cuts elsewhere; a sample never crosses the cut.
    assert test != take(str(path), "test", seed=1)
    assert set(take(str(path), "test", 20)) < set(test)
    assert set(take(str(path), "train", 300)) < set(train)


def test_equal_texts_of_a_single_file_stay_on_one_side(tmp_path: Path) -> None:
    rows = made_up(100) * 3 + [Row(row.text, 3 - row.label) for row in made_up(100)]
    path = tmp_path / "repeats.csv"
    path.write_bytes(as_csv(rows))
    for seed in range(5):
        train = {row.text for row in take(str(path), seed=seed)}
        test = {row.text for row in take(str(path), "test", seed=seed)}
        assert test
        assert not train & test
    # Negative control: cutting by row number would leak nearly every test row.
    assert {row.text for row in rows[:360]} >= {row.text for row in rows[360:]}


def test_a_tiny_single_file_has_every_class_on_both_sides(tmp_path: Path) -> None:
    path = tmp_path / "tiny.csv"
    path.write_bytes(as_csv(made_up(8)))
    open_source(str(path)).check()
    for split in ("train", "test"):
        assert {row.label for row in take(str(path), split)} == {0, 1, 2, 3}


def test_a_single_file_with_one_row_of_each_class_fails_its_check(
    tmp_path: Path,
) -> None:
    path = tmp_path / "one_each.csv"
    path.write_bytes(as_csv(made_up(4)))
    with pytest.raises(DataError, match="two rows or more"):
        open_source(str(path)).check()


# --- Fingerprints ------------------------------------------------------------------


def test_a_fingerprint_changes_with_everything_that_changes_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = csv_folder(tmp_path, as_csv(made_up(40)), as_csv(made_up(40)))
    source = open_source(data)
    seen = {
        source.fingerprint("train", num_rows=8, seed=0),
        source.fingerprint("test", num_rows=8, seed=0),
        source.fingerprint("train", num_rows=9, seed=0),
        source.fingerprint("train", num_rows=8, seed=1),
        source.fingerprint("train", num_rows=None, seed=0),
        open_source(data, repaired=False).fingerprint("train", num_rows=8, seed=0),
    }
    monkeypatch.setattr("distrinews.data.file_sources.CLEANING_VERSION", "next")
    seen.add(source.fingerprint("train", num_rows=8, seed=0))
    monkeypatch.undo()
    (tmp_path / "train.csv").write_bytes(as_csv(made_up(40)).replace(b"39", b"38"))
    seen.add(source.fingerprint("train", num_rows=8, seed=0))
    assert len(seen) == 8
    # Negative control: what changes no row changes no fingerprint.
    (tmp_path / "test.csv").write_bytes(as_csv(made_up(9)))
    again = open_source(csv_folder(tmp_path / "copy", as_csv(made_up(40))))
    assert again.fingerprint("train", num_rows=8, seed=0) in seen
    seeds = {again.fingerprint("train", num_rows=None, seed=s) for s in range(3)}
    assert len(seeds) == 1


# --- Bad input ---------------------------------------------------------------------

LATIN = '"2","Caf\xe9","open"\n'
BAD_FILES = {
    "nothing in it": (b"", "holds no rows"),
    "only a header": (b"Class Index,Title,Description\n", "holds no rows"),
    "one class": ((ROW * 5).encode(), r"one class \(Business\)"),
    "two columns": (f"{ROW}3,title\n".encode(), r"line 2 .*2 columns, expected 3"),
    "four columns": (f"{ROW}3,a,b,c\n".encode(), "line 2 .*4 column"),
    "class 5": (f"{ROW}5,a,b\n".encode(), "line 2 .*class '5', expected 1 to 4"),
    "class 0": (f"{ROW}0,a,b\n".encode(), "line 2 .*class '0'"),
    "class by name": (f"{ROW}Sports,a,b\n".encode(), "line 2 .*class 'Sports'"),
    "empty text": (f'{ROW}3,"",""\n'.encode(), "line 2 .*empty text"),
    "only debris": (f"{ROW}3, ,\\\n".encode(), "line 2 .*empty text"),
    "100,000 characters": (
        f"{ROW}{OTHER}3,a,{'b' * 100_000}\n".encode(),
        "line 3 .*100,002 characters; a text may have 20,000",
    ),
    "200,000 characters": (f"{ROW}3,a,{'b' * 200_000}\n".encode(), "line 2 .*limit"),
    "no line end": (b"3,a," + b"b" * 2_000_000, "line 1 .*1,000,000 bytes"),
    "NUL": (f"{ROW}3,a\0b,c\n".encode(), "line 2 .*NUL"),
    "Latin-1": ((ROW + LATIN).encode("latin-1"), r"line 2 .*not UTF-8 \(byte 0xe9"),
    "UTF-16": ((ROW + OTHER).encode("utf-16"), "is UTF-16, expected UTF-8"),
    "UTF-16 unmarked": ((ROW + OTHER).encode("utf-16-le"), "line 1 .*NUL"),
    "gzip without .gz": (gzip.compress(ROW.encode()), "is gzip, expected text"),
    "last quote open": (f'{ROW}{OTHER}3,"a","b\n'.encode(), "line 3 .*not CSV"),
    "early quote open": (f'{ROW}3,"a,"b"\n{OTHER}'.encode(), "line 2 .*not CSV"),
    "lone quote": (f'{ROW}3,"a" b,c\n'.encode(), "line 2 .*not CSV"),
    "old Mac": (b"3,a,b\r1,c,d\r", "line 1 .*not CSV"),
    "open quote, long": (
        ('3,"a,b\n' + "1,c,some more words\n" * 9000).encode(),
        "line 1 .*limit",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_with_its_line_and_a_cure(
    tmp_path: Path, name: str
) -> None:
    raw, message = BAD_FILES[name]
    data = csv_folder(tmp_path, raw)
    for call in (
        open_source(data).check,
        lambda: open_source(data).rows("train", num_rows=None, seed=0),
    ):
        with pytest.raises(DataError, match=message) as caught:
            call()
        assert caught.value.page == "bad-data"
        assert "train" in caught.value.what
        assert caught.value.why
        assert caught.value.fix


def test_the_same_files_without_their_fault_are_accepted(tmp_path: Path) -> None:
    """Negative control for the table above: each fault is what was refused."""
    long = f'"3","a","{"b" * 19_998}"\n'  # with "a " exactly 20,000 characters
    latin = LATIN  # as UTF-8
    quotes = '3,"say ""hi""","a, b"\n'
    data = csv_folder(tmp_path, (ROW + OTHER + long + latin + quotes).encode())
    open_source(data).check()
    texts = [row.text for row in take(data)]
    assert [len(texts[2]), texts[3:]] == [20_000, ["Caf\xe9 open", 'say "hi" a, b']]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (ROW.encode(), "not a whole gzip file"),
        (b"", "holds no rows"),
        (gzip.compress(as_csv(made_up(500)))[:-300], "not a whole gzip file"),
        (gzip.compress(as_csv(made_up(500)))[:-4] + b"oops", "not a whole gzip file"),
        (b"\x1f\x8b\x08" + b"\x00" * 7 + b"\xff" * 50, "not a whole gzip file"),
    ],
    ids=["not gzip", "empty", "cut off", "wrong checksum", "garbage inside"],
)
def test_a_damaged_gz_is_refused(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=message):
        open_source(str(path)).check()


@pytest.mark.parametrize("data", ["", "ag-news", "no/such.csv", "x\0y", "a" * 5000])
def test_an_unknown_name_is_refused_with_the_known_ones(data: str) -> None:
    with pytest.raises(DataError, match=r"(?s)neither.*newswire or ag_news"):
        open_source(data)


def test_a_folder_without_a_test_file_says_which_file_to_add(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(ROW + OTHER, encoding="utf-8")
    with pytest.raises(DataError, match=r"(?s)split 'test'.*put test\.csv or test"):
        open_source(str(tmp_path)).check()


def test_a_folder_named_train_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").mkdir()
    with pytest.raises(DataError, match=r"cannot read .*train\.csv"):
        open_source(str(tmp_path)).check()
    with pytest.raises(DataError, match=r"cannot read .*train\.csv"):
        open_source(str(tmp_path)).fingerprint("train", num_rows=None, seed=0)


def test_a_file_we_may_not_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = csv_folder(tmp_path, (ROW + OTHER).encode())

    def refuse(*_: object) -> None:  # WHY not chmod: root, as in containers, may read
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("distrinews.data.csv_rows.open_bytes", refuse)
    with pytest.raises(DataError, match=r"cannot read .*train\.csv: Permission denied"):
        open_source(data).check()


# --- The Hub's form ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a", "b"], "mood": [0, 1]}, "its columns are 'text', 'mood'"),
        ({"text": ["a", "b"], "label": [0.0, 0.5]}, "row 2 .*label 0.5"),
        ({"text": ["a", "b"], "label": [0, None]}, "row 2 .*label None"),
        ({"text": ["a", "b"], "label": [[0], [1]]}, r"row 1 .*label \[0\]"),
        ({"text": ["a", None], "label": [0, 1]}, "row 2 .*no text but None"),
        ({"text": ["a", " "], "label": [0, 1]}, "row 2 .*empty text"),
        ({"text": ["a", "b" * 30_000], "label": [0, 1]}, "row 2 .*30,000 characters"),
        ({"text": ["a", "b"], "label": [1, 1]}, r"one class \(1\)"),
        ({"text": [], "label": []}, "holds no rows|cannot read"),
    ],
)
def test_bad_parquet_rows_are_refused(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    import pyarrow
    from pyarrow import parquet

    for split in ("train", "test"):
        table = pyarrow.table(columns)
        parquet.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    with pytest.raises(DataError, match=message):
        open_source(str(tmp_path)).check()


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = [["a", "b"], ["c", "d"], [0, 1]]
    table = pyarrow.table(columns, names=["text", "text", "label"])
    parquet.write_table(table, tmp_path / TRAIN_PARQUET)
    with pytest.raises(DataError, match="columns are 'text', 'text', 'label'"):
        open_source(str(tmp_path)).check()


def test_a_parquet_file_that_changed_gives_its_new_rows(tmp_path: Path) -> None:
    data = hub_folder(tmp_path, made_up(8), made_up(8))
    before = open_source(data).fingerprint("train", num_rows=None, seed=0)
    assert take(data) == made_up(8)
    hub_folder(tmp_path, made_up(8, start=80), made_up(8))
    assert take(data) == made_up(8, start=80)
    assert before != open_source(data).fingerprint("train", num_rows=None, seed=0)


def test_parquet_is_read_in_flat_memory(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    random_text = random.Random(0).randbytes
    train = [Row(random_text(500).hex(), n % 4) for n in range(20_000)]  # 20 MB
    hub_folder(tmp_path, train, made_up(8))  # in one row group
    before = pyarrow.total_allocated_bytes()
    rows = read_parquet([tmp_path / "data" / TRAIN_PARQUET], split="train").rows
    most = max(pyarrow.total_allocated_bytes() for _ in rows) - before
    assert most < 8 * 2**20
    table = parquet.read_table(tmp_path / "data" / TRAIN_PARQUET)
    assert pyarrow.total_allocated_bytes() - before > 20_000_000  # negative control
    assert len(table) == 20_000


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    data = hub_folder(tmp_path, made_up(8), made_up(8))
    file = tmp_path / "data" / TRAIN_PARQUET
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DataError, match=rf"cannot read .*{TRAIN_PARQUET}"):
        open_source(data).check()


@pytest.mark.parametrize("swapped", [False, True])
def test_label_names_that_stand_in_the_file_are_used_in_its_order(
    tmp_path: Path, swapped: bool
) -> None:
    import datasets

    names = list(LABEL_NAMES[::-1] if swapped else LABEL_NAMES)
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=names)
    )
    table = datasets.Dataset.from_dict(
        {"text": ["a", "b"], "label": [0, 1]}, features=features
    )
    for split in ("train", "test"):
        table.to_parquet(str(tmp_path / f"{split}.parquet"))
    source = open_source(str(tmp_path))
    source.check()
    assert source.class_names == tuple(names)
    assert take(str(tmp_path)) == [("a", 0), ("b", 1)]
    # A model numbers its classes in its own way: rows follow by name.
    news = open_source(str(tmp_path), model_classes=LABEL_NAMES)
    labels = [row.label for row in news.rows("train", num_rows=None, seed=0)]
    assert labels == ([3, 2] if swapped else [0, 1])


NAME_ROWS = """
import json
from distrinews.data.sources import open_source
source = open_source("ag_news")
source.check()
out = [source.fingerprint("train", num_rows=None, seed=0)]
"""
GIVE_ROWS = """
out.append(list(source.rows("train", num_rows=None, seed=0)))
out.append(len(list(source.rows("test", num_rows=4, seed=0))))
"""


def run_cached(
    home: Path, code: str, *, commit: str, offline: str, text: str = "Oil #39;s up"
) -> list[Any]:
    """Run code in a process whose Hub cache holds one commit of ag_news."""
    folder = home / "hub" / "datasets--fancyzhx--ag_news"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit, encoding="utf-8")
    rows = [Row(text, 2), *made_up(8)]
    hub_folder(folder / "snapshots" / commit, rows, made_up(8))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
    env = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": offline}
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(json.dumps(out))"],
        env=env | {"HF_ENDPOINT": closed},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: list[Any] = json.loads(done.stdout)
    return result


def test_ag_news_from_the_cache_needs_no_network_and_is_repaired(
    tmp_path: Path,
) -> None:
    code = NAME_ROWS + GIVE_ROWS
    name, rows, num_test = run_cached(tmp_path, code, commit=COMMIT, offline="1")
    assert rows == [["Oil's up", 2], *map(list, made_up(8))]
    assert num_test == 4
    assert len(name) == 64


def test_the_rows_and_not_the_commit_stand_in_the_fingerprint_of_ag_news(
    tmp_path: Path,
) -> None:
    """A commit may change a README only, and a run would be refused to go on."""

    def fingerprint(home: str, commit: str, **rows: str) -> list[Any]:
        return run_cached(
            tmp_path / home, NAME_ROWS, commit=commit, offline="0", **rows
        )

    first = fingerprint("a", COMMIT)
    assert first == fingerprint("b", COMMIT[::-1])
    assert first != fingerprint("c", COMMIT, text="Oil is up")


# --- Real rows ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def real_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    if not (SHARED / "train.csv.gz").exists():
        pytest.skip(f"needs the real rows in {SHARED}")
    folder = tmp_path_factory.mktemp("ag_news")
    for name in ("train.csv.gz", "test.csv"):
        (folder / name).write_bytes((SHARED / name).read_bytes())
    return str(folder)


def test_real_ag_news_is_accepted_whole(
    real_folder: str, record_property: Callable[[str, object], None]
) -> None:
    source = open_source(real_folder)
    start = time.perf_counter()
    source.check()
    record_property("check_s", round(time.perf_counter() - start, 2))
    test = list(source.rows("test", num_rows=None, seed=0))
    assert Counter(row.label for row in test) == dict.fromkeys(range(4), 1900)
    start = time.perf_counter()
    train = list(source.rows("train", num_rows=4000, seed=0))
    record_property("rows_4000_s", round(time.perf_counter() - start, 2))
    # 1,000 of each class are expected; standard deviation 26.
    assert all(870 < n < 1130 for n in Counter(row.label for row in train).values())
    assert not any("#39;" in row.text or "\\" in row.text for row in train + test)


def test_every_source_says_what_it_is_in_one_line(tmp_path: Path) -> None:
    data = csv_folder(tmp_path, (ROW + OTHER).encode())
    for name, words in (
        ("newswire", "invented"),
        ("ag_news", "non-commercial"),
        (data, "your own"),
    ):
        source: sources.Source = open_source(name)
        assert source.name == name
        assert words in source.description
        assert "\n" not in source.description
