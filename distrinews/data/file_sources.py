"""Two sources of rows that live in files: your own, and AG News from the Hub.

Promise: the same arguments give the same rows, whatever the machine; a sample is drawn
from the whole file, also from one that is sorted by class; equal texts of a single
file never stand in both splits. Memory is one row, plus 3 to 11 bytes for each row.

Not here: the interface these classes fulfil (`distrinews.data.sources`), file formats
(`distrinews.data.csv_rows`, `distrinews.data.json_rows`, `distrinews.data.arrow_rows`),
downloads (`distrinews.system.hub`).
Guide: reference/data.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import NoReturn

from distrinews.data import csv_rows
from distrinews.data.cleaning import CLEANING_VERSION, repair
from distrinews.data.columns import ColumnsWanted, FileRow, FileRows
from distrinews.data.labels import (
    LABEL_NAMES,
    MAX_CLASSES,
    Row,
    label_name,
    missing_label,
    number_classes,
)
from distrinews.errors import DataError
from distrinews.system import hub

__all__ = [
    "AG_NEWS_REPO",
    "SPLITS",
    "TEST_SHARE",
    "HubSource",
    "FileSource",
    "check_request",
    "digest",
]

AG_NEWS_REPO = "fancyzhx/ag_news"
SPLITS = ("train", "test")
TEST_SHARE = 0.1  # of a single file, which has to serve both splits

_HUB_PATTERNS = [f"data/{split}-*.parquet" for split in SPLITS]
# Endings of a split's file in a folder, in the order in which they are looked for.
_JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
_ENDINGS = tuple(
    ending + packed
    for ending in (".csv", ".tsv", *_JSON_ENDINGS)
    for packed in ("", ".gz")
)
_SAMPLING_VERSION = "1"  # raise it whenever the same arguments give other rows


def check_request(split: str, num_rows: int | None) -> None:
    """Refuse an unknown split or a number of rows that gives nothing.

    Args:
        split: `"train"` or `"test"`.
        num_rows: 1 or more, or None for all.

    Raises:
        DataError: Anything else.

    Examples:
        >>> check_request("train", 1)
    """
    if split not in SPLITS or (num_rows is not None and num_rows < 1):
        raise DataError(
            f"asked for {num_rows} rows of split {split!r}.",
            why="a split is train or test, and no rows teach nothing.",
            fix='pass split="train" or "test" and 1 row or more.',
            page="bad-data",
        )


def digest(*parts: object) -> str:
    """Turn what decides about rows into a fingerprint.

    Args:
        parts: Names, versions, numbers, JSON objects; their order counts.

    Returns:
        64 hexadecimal digits, the same on every machine.

    Examples:
        >>> digest("ag_news", 1) == digest("ag_news", "1")
        False
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass(frozen=True)
class FileSource:
    """Rows from files on this disk.

    A single file, or a folder of parquet files that are not divided into splits, serves
    both splits: of each class, the tenth (`TEST_SHARE`, at least
    one row) whose texts have the smallest seeded checksum are the test split, the
    others the train split. A checksum of the text and not of the row number, because
    feeds repeat themselves: equal texts always fall on the same side.

    Args:
        name: The path as given.
        repaired: Whether texts pass through `cleaning.repair`.
        wanted: Which columns to read.
        model_classes: The classes of a model that is to judge these rows, in its
            order; None: the classes are those of the rows.
    """

    name: str
    repaired: bool = True
    wanted: ColumnsWanted = ColumnsWanted()
    model_classes: tuple[str, ...] | None = None

    @property
    def description(self) -> str:
        """One line: what, origin, licence."""
        return f"your own rows from {self.name}; you know their origin and licence"

    @property
    def card_description(self) -> str:
        """The same for a model card: no path, no promise."""
        return "its author's own rows, which are not published with it"

    @property
    def licence(self) -> str | None:
        """The licence that a model made from these rows may carry; None: unknown."""
        return None

    @property
    def form(self) -> str:
        """What was recognised: format and columns. Reads the file's beginning."""
        return self._open("train").form

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their numbers; may read all training rows.

        Raises:
            DataError: A fault in a row, a missing label, or more than 1,000 different
                ones.
        """
        if self.model_classes is not None:
            return self.model_classes
        opened = self._open("train")
        if opened.class_names is not None:
            return opened.class_names
        found: dict[str, str] = {}
        for row in opened.rows:
            found.setdefault(row.label, row.location)
            if len(found) > MAX_CLASSES:
                csv_rows.reject(
                    f"{row.location}: more than {MAX_CLASSES:,} different labels up to "
                    "here.",
                    why="a column with this many values rarely holds labels.",
                    fix="name the right column (a chapter: --label-column).",
                )
        if missing := missing_label(found):
            csv_rows.reject(
                f"{found[missing]} has label {missing!r}; all others are whole "
                "numbers.",
                why="a missing value that was written as text would be a class.",
                fix="fill in the label, or delete the row.",
            )
        return number_classes(found)

    def check(self) -> None:
        """Read every row of both splits.

        Raises:
            DataError: The first fault found.

        Note:
            Cost: about 8 microseconds a row; 5 more if labels have to be found first.
        """
        for split in SPLITS:
            labels = self._labels(split)
            if self._is_single_file:
                # A class of one row cannot stand on both sides.
                location = f"{self.name} (counting classes of two rows or more)"
                repeated = {k for k, n in Counter(labels).items() if n > 1}
                self._check_classes(labels, repeated, location)
                return
            self._check_classes(labels, set(labels), f"split {split!r} of {self.name}")

    def fingerprint(self, split: str, *, num_rows: int | None, seed: int) -> str:
        """Name the rows: the files' bytes, the repairs, the columns, the arguments."""
        check_request(split, num_rows)
        # WHY: where all rows are taken the seed changes nothing, and a cache made with
        # one seed serves every other.
        used_seed = seed if self._is_single_file or num_rows is not None else None
        cleaning = CLEANING_VERSION if self.repaired else None
        # WHY the training rows, too: they say which classes there are, and how the
        # labels of the test rows are numbered.
        splits = [split] if self._is_single_file else {"train": 0, split: 0}
        content = [self._content(name) for name in splits]
        choice = [self.wanted.text, self.wanted.label, self.model_classes]
        return digest(
            content, choice, cleaning, _SAMPLING_VERSION, split, num_rows, used_seed
        )

    def rows(self, split: str, *, num_rows: int | None, seed: int) -> Iterator[Row]:
        """Read the files once to check, count and choose; return the chosen rows.

        Args:
            split: `"train"` or `"test"`.
            num_rows: How many, drawn at random; None for all.
            seed: Another seed gives another sample.

        Returns:
            The rows, in the order of the file. They are read a second time, one by
            one, instead of being kept.

        Raises:
            DataError: Any fault in any row; fewer rows than asked for; one class only.

        Note:
            Cost: two readings, three if labels have to be found first; 3 bytes a row of
            memory, for a single file 11.
        """
        check_request(split, num_rows)
        location = f"split {split!r} of {self.name}"
        if self._is_single_file:
            labels, flags = self._divide(split, seed)
        else:
            labels = self._labels(split)
            flags = bytearray(b"\1") * len(labels)
        if num_rows is not None:
            _subsample(flags, num_rows, key=f"{seed} {split}", location=location)
        self._check_classes(labels, set(compress(labels, flags)), location)
        return self._repaired(compress(self._read(split), flags))

    @property
    def _is_single_file(self) -> bool:
        path = Path(self.name)
        is_one = path.is_file() or (path / "state.json").is_file()
        return is_one or bool(self._shards)

    @property
    def _shards(self) -> list[Path]:
        """The parquet files of a folder without splits, as Spark and dask write it."""
        if any(map(self._split_files, SPLITS)):
            return []
        return sorted(Path(self.name).glob("*.parquet"))

    def _repaired(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            yield Row(repair(row.text), row.label) if self.repaired else row

    def _labels(self, split: str) -> array[int]:
        """The label numbers of all rows, 2 bytes each."""
        labels = array("H", (row.label for row in self._read(split)))
        if self._hub_numbers and 0 not in labels:
            first = next(iter(self._open(split).rows), None)
            if first is not None and first.label in self._hub_numbers:
                csv_rows.reject(
                    f"{self.name} numbers its labels, and none of them is 0.",
                    why="they may count from 0 or from 1, so a number does not "
                    "identify one of the model's named classes.",
                    fix="write the class names instead of numbers: "
                    f"{', '.join(self.class_names):.200}.",
                )
        return labels

    def _read(self, split: str) -> Iterator[Row]:
        """All rows, their labels numbered."""
        numbers = {name: k for k, name in enumerate(self.class_names)}
        numbers |= self._hub_numbers
        for k, name in enumerate(self.class_names):
            numbers.setdefault(label_name(name) or name, k)  # of a model's class "01"
        for row in self._open(split).rows:
            number = numbers.get(row.label)
            if number is None:
                self._reject_unknown(row)
            yield Row(row.text, number)

    def _reject_unknown(self, row: FileRow) -> NoReturn:
        has_model = self.model_classes is not None
        names = ", ".join(self.class_names)
        csv_rows.reject(
            f"{row.location} has label {csv_rows.short_repr(row.label)}, which is none "
            f"of the {len(self.class_names)} classes: {names:.200}.",
            why="the model has no output for it."
            if has_model
            else "no training row has it, so it cannot be learned.",
            fix="correct the label, or remove the row"
            + ("." if has_model else "; or add such rows to train on."),
        )

    @property
    def _hub_numbers(self) -> dict[str, int]:
        """Numbers as on the Hub, from 0, for a model whose classes have names."""
        names = self.model_classes or ()
        if any(map(str.isdecimal, names)):
            return {}
        return {str(k): k for k in range(len(names))}

    def _open(self, split: str) -> FileRows:
        files = self._files(split)
        name = files[0].name.lower().removesuffix(".gz")
        # WHY here: every run imports this module, and few read these formats.
        if name.endswith(".parquet"):
            from distrinews.data.arrow_rows import read_parquet

            return read_parquet(files, split=split, wanted=self.wanted)
        if name.endswith(".arrow"):
            from distrinews.data.arrow_rows import read_saved

            return read_saved(files, split=split, wanted=self.wanted)
        if name.endswith(_JSON_ENDINGS):
            from distrinews.data.json_rows import read_json_lines

            return read_json_lines(files[0], wanted=self.wanted)
        return csv_rows.read_csv(files[0], wanted=self.wanted)

    def _files(self, split: str) -> list[Path]:
        if files := self._split_files(split) or self._shards:
            return files
        folder = Path(self.name)
        raise DataError(
            f"{folder} holds no rows for split {split!r}.",
            why="training needs a train split and a test split.",
            fix=f"put {split}.csv or {split}.csv.gz, {split}.jsonl or "
            f"data/{split}-00000-of-00001.parquet into it; or name one file: "
            "a tenth of its rows becomes the test split.",
            page="bad-data",
        )

    def _split_files(self, split: str) -> list[Path]:
        """The file itself, or what a folder holds for a split: nothing, one, shards."""
        folder = Path(self.name)
        if folder.is_file():
            return [folder]
        for saved in (folder, folder / split):
            if (saved / "state.json").is_file():
                from distrinews.data.arrow_rows import saved_files

                return saved_files(saved)
        for ending in _ENDINGS:
            if (path := folder / f"{split}{ending}").exists():
                return [path]
        shards = ("data/{}-*.parquet", "{}*.parquet", "{}/*.parquet")
        for pattern in shards:
            if files := sorted(folder.glob(pattern.format(split))):
                return files
        return []

    def _content(self, split: str) -> str:
        digests = []
        for path in self._files(split):
            with csv_rows.translate_read_errors(path), open(path, "rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        return " ".join(digests)

    def _check_classes(
        self, labels: Sequence[int], present: set[int], location: str
    ) -> None:
        names = ", ".join(self.class_names[k] for k in present) or "no class"
        if not labels:
            raise DataError(
                f"{location} holds no rows.",
                why="there is nothing to train with.",
                fix="write one row per line: class,title,description; or a header "
                "such as label,text first.",
                page="bad-data",
            )
        if len(present) < 2:
            raise DataError(
                f"{location}: all rows belong to one class ({names}).",
                why="a classifier of one class answers without reading and scores "
                "100 %.",
                fix="use rows of two classes or more, or more rows.",
                page="bad-data",
            )

    def _divide(self, split: str, seed: int) -> tuple[array[int], bytearray]:
        """Labels of all rows, and flags for those that belong to the split."""
        labels, checksums = array("H"), array("Q")
        key = f"{seed}".encode()[:64]
        for row in self._repaired(self._read(split)):
            labels.append(row.label)
            checksum = hashlib.blake2b(row.text.encode(), digest_size=8, key=key)
            checksums.append(int.from_bytes(checksum.digest(), "big"))
        test_checksums: set[int] = set()
        for label in set(labels):
            of_class = sorted(
                s for s, k in zip(checksums, labels, strict=True) if k == label
            )
            num_test = int(len(of_class) * TEST_SHARE) or int(len(of_class) > 1)
            test_checksums.update(of_class[:num_test])
        # WHY a set for all classes: a text that stands under two labels stays together.
        is_test = split == "test"
        return labels, bytearray((s in test_checksums) == is_test for s in checksums)


@dataclass(frozen=True)
class HubSource(FileSource):
    """AG News from the Hugging Face Hub, downloaded once."""

    model_classes: tuple[str, ...] | None = LABEL_NAMES

    @property
    def description(self) -> str:
        """One line: what, origin, licence."""
        return (
            f"AG News, huggingface.co/datasets/{AG_NEWS_REPO}; for research and other "
            "non-commercial use, the articles belong to their publishers"
        )

    @property
    def card_description(self) -> str:
        """The same for a model card."""
        return self.description

    @property
    def form(self) -> str:
        """Nothing to say: there is one form."""
        return ""

    def check(self) -> None:
        """Download the rows unless a copy is here.

        Why already now: ranks that met would wait for the download in a collective,
        and a rank whose download breaks off would leave the others in it.

        Raises:
            HubUnreachableError: Neither a copy nor a Hub that answers; within 10
                seconds. Or the download broke off.
        """
        self._snapshot()

    @property
    def _is_single_file(self) -> bool:
        return False

    def _snapshot(self) -> Path:
        return hub.snapshot(
            AG_NEWS_REPO, repo_type="dataset", allow_patterns=_HUB_PATTERNS
        )

    def _files(self, split: str) -> list[Path]:
        return sorted(self._snapshot().glob(f"data/{split}-*.parquet"))


def _subsample(flags: bytearray, num_rows: int, *, key: str, location: str) -> None:
    """Leave exactly `num_rows` flags set, chosen at random, in place."""
    num_left = sum(flags)
    if num_rows > num_left:
        raise DataError(
            f"{location} has {num_left:,} rows; {num_rows:,} were asked for.",
            why="a row used twice would count twice, in training and in the score.",
            fix=f"ask for {num_left} rows or fewer.",
            page="bad-data",
        )
    # Selection sampling: each row is taken with chance (still wanted) / (still there).
    # WHY not random.sample: of Random's methods only random() is promised to give the
    # same numbers in every Python version. (Knuth, TAOCP 2, 3.4.2, algorithm S.)
    draw = random.Random(f"rows {_SAMPLING_VERSION} {key}").random
    num_needed = num_rows
    for index in compress(range(len(flags)), bytes(flags)):
        flags[index] = draw() * num_left < num_needed
        num_needed -= flags[index]
        num_left -= 1
