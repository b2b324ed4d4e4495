"""Proofs for distrinews.data.tokenised: the batches hold what the tokenizer said."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import torch
from transformers import PreTrainedTokenizerFast

from distrinews import dist, model
from distrinews.bench import datapath
from distrinews.data import sources, token_table, tokenised
from distrinews.errors import DataError, OutputError

CPU = torch.device("cpu")
NUM_ROWS = (
    2 * tokenised.ROWS_PER_BATCH + 301
)  # three record batches, the last one shorter

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("own_cache")]


@pytest.fixture(scope="module")
def rows() -> list[sources.Row]:
    return list(sources.NewswireSource().rows("train", num_rows=NUM_ROWS, seed=1))


def make_tokenizer(max_length: int = 32) -> PreTrainedTokenizerFast:
    source = sources.NewswireSource()
    rows = source.rows("train", num_rows=200, seed=1)
    return model.load_tokenizer(
        "tiny", max_length=max_length, texts=[row.text for row in rows]
    )


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer()


def tokenise(
    tokenizer: PreTrainedTokenizerFast, *, num_rows: int = NUM_ROWS, seed: int = 1
) -> tokenised.TokenTable:
    return tokenised.tokenise(
        sources.NewswireSource(),
        "train",
        tokenizer=tokenizer,
        num_rows=num_rows,
        seed=seed,
    )


@pytest.fixture(scope="module")
def table(tokenizer: PreTrainedTokenizerFast, own_cache: Path) -> tokenised.TokenTable:
    return tokenise(tokenizer)


def test_a_batch_holds_the_tokenizers_own_ids_padded_to_its_own_longest_row(
    table: tokenised.TokenTable,
    rows: list[sources.Row],
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    last = NUM_ROWS - 1
    chosen = [last, 0, 999, 1000, 2000, 17, 0]  # batch borders, and one row twice
    inputs, labels = table.batch(chosen, device=CPU)
    want = tokenizer(
        [rows[row].text for row in chosen],
        truncation=True,
        padding="longest",
        return_tensors="pt",
    )
    assert inputs.keys() == {"input_ids", "attention_mask"}
    for name, tensor in inputs.items():
        assert tensor.dtype == torch.int64
        assert torch.equal(tensor, want[name]), name
    assert labels.tolist() == [rows[row].label for row in chosen]
    assert labels.dtype == torch.int64


def test_each_batch_is_as_long_as_its_longest_row_and_no_longer(
    table: tokenised.TokenTable,
) -> None:
    by_length = np.argsort(table.lengths)
    shortest, longest = by_length[:4].tolist(), by_length[-4:].tolist()
    for chosen in (shortest, longest):
        inputs, _ = table.batch(chosen, device=CPU)
        assert inputs["input_ids"].shape[1] == max(table.lengths[chosen])
        assert inputs["attention_mask"].sum(dim=1).tolist() == [
            table.lengths[row] for row in chosen
        ]
    # Negative control: one length for all would be wrong for one of the two.
    assert max(table.lengths[shortest]) < max(table.lengths[longest])


def test_all_rows_are_there_with_their_labels_and_lengths(
    table: tokenised.TokenTable,
    rows: list[sources.Row],
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    ids = tokenizer([row.text for row in rows], truncation=True)["input_ids"]
    assert len(table) == NUM_ROWS
    assert table.labels.tolist() == [row.label for row in rows]
    assert table.lengths.tolist() == [len(row_ids) for row_ids in ids]
    assert max(table.lengths) == 32  # negative control: some text was cut
    uncut = tokenizer([row.text for row in rows])["input_ids"]
    assert max(len(row_ids) for row_ids in uncut) > 32


def test_rows_collected_at_once_equal_rows_collected_one_by_one(
    table: tokenised.TokenTable,
) -> None:
    order = np.random.default_rng(0).permutation(NUM_ROWS)
    for chosen in np.array_split(order, 70):
        at_once, labels = table.batch(chosen, device=CPU)
        by_row, by_row_labels = datapath.collect_one_by_one(table, chosen, device=CPU)
        assert at_once.keys() == by_row.keys()
        for name, tensor in at_once.items():
            assert torch.equal(tensor, by_row[name]), name
        assert torch.equal(labels, by_row_labels)
    # Negative control: in another order they are not equal.
    other, _ = table.batch(chosen[::-1], device=CPU)
    assert not torch.equal(other["input_ids"], at_once["input_ids"])


def test_rows_put_last_are_last_and_all_others_keep_their_order(
    table: tokenised.TokenTable,
) -> None:
    last = [0, 5, 6, 1000, NUM_ROWS - 1]  # both ends, and two neighbours
    moved = table.with_rows_last(last)
    rest = [row for row in range(NUM_ROWS) if row not in last]
    assert moved.lengths.tolist() == table.lengths[rest + last].tolist()
    assert moved.labels.tolist() == table.labels[rest + last].tolist()
    inputs, _ = moved.batch([NUM_ROWS - 4, 4, NUM_ROWS - 1], device=CPU)
    want, _ = table.batch([5, 7, NUM_ROWS - 1], device=CPU)
    assert torch.equal(inputs["input_ids"], want["input_ids"])
    control, _ = table.batch([NUM_ROWS - 4, 4, NUM_ROWS - 1], device=CPU)
    assert control["input_ids"].tolist() != want["input_ids"].tolist()  # control


def test_the_first_rows_are_a_table_that_needs_no_memory(
    table: tokenised.TokenTable,
) -> None:
    few = table.first(100)
    assert len(few) == 100
    assert few.lengths.tolist() == table.lengths[:100].tolist()
    assert np.shares_memory(few.lengths, table.lengths)
    # Negative control: putting rows last makes a copy.
    assert not np.shares_memory(table.with_rows_last([0]).lengths, table.lengths)
    with pytest.raises(IndexError):
        few.batch([100], device=CPU)


def write(path: Path, rows: list[list[int]], schema: pa.Schema) -> Path:
    schema = schema.with_metadata(
        {"class_names": "[]", "form": ""} | (schema.metadata or {})
    )
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        columns = [rows, [0] * len(rows), [False] * len(rows)]
        writer.write_batch(pa.record_batch(columns, schema=schema))
    return path


def test_the_last_row_can_share_a_batch_with_the_longest_possible_one(
    tmp_path: Path,
) -> None:
    schema = tokenised._schema(make_tokenizer(max_length=512))
    rows = [[7] * 512, [5, 6]]
    path = write(tmp_path / "rows", rows, schema)
    inputs, _ = tokenised.TokenTable(path, pad_id=1).batch([0, 1], device=CPU)
    assert inputs["input_ids"].tolist() == [[7] * 512, [5, 6] + [1] * 510]
    # Negative control: without the room at the file's end it could not.
    path = write(tmp_path / "other", rows, schema.remove_metadata())
    with pytest.raises(IndexError):
        tokenised.TokenTable(path, pad_id=1).batch([0, 1], device=CPU)


def test_a_token_takes_2_bytes_unless_the_vocabulary_is_larger(tmp_path: Path) -> None:
    small, large = make_tokenizer(), make_tokenizer()
    large.add_tokens([f"word{n}" for n in range(2**16)])
    token_types = [
        tokenised._schema(t).field(0).type.value_type for t in (small, large)
    ]
    assert token_types == [pa.uint16(), pa.int32()]
    rows = [[2**16 + 5, 3], [4]]
    path = write(tmp_path / "rows", rows, tokenised._schema(large))
    inputs, _ = tokenised.TokenTable(path, pad_id=0).batch([1, 0], device=CPU)
    assert inputs["input_ids"].tolist() == [[4, 0], [2**16 + 5, 3]]
    with pytest.raises(pa.ArrowInvalid):  # negative control: 2 bytes cannot hold it
        write(tmp_path / "other", rows, tokenised._schema(small))


def test_a_place_in_a_file_of_any_size_fits() -> None:
    for num_slots, size in ((10, 4), (2**32 - 1, 4), (2**32, 8), (2**40, 8)):
        assert token_table._row_type(num_slots)["start"].itemsize == size
    assert token_table._row_type(2**32 - 1).itemsize == 8  # what the docstring says
    assert np.array([2**32]).astype(np.uint32) == 0  # negative control: 4 bytes do not


# --- The cache ------------------------------------------------------------------


def test_a_second_run_finds_the_file_ready(
    table: tokenised.TokenTable, tokenizer: PreTrainedTokenizerFast
) -> None:
    before = table.path.stat()
    assert tokenise(tokenizer).path == table.path
    after = table.path.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    table.path.touch()  # negative control: a changed file would have shown
    assert table.path.stat().st_mtime_ns != before.st_mtime_ns


def test_each_ingredient_makes_another_file(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    file = tmp_path / "news.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([
            [1 + i % 4, f"Headline {i}", f"It&#39;s story number {i}"]
            for i in range(40)
        ])
    other_vocabulary = model.load_tokenizer("tiny", max_length=32, texts=["one two"])

    def path(
        *,
        data: str = str(file),
        split: str = "train",
        repaired: bool = True,
        used: PreTrainedTokenizerFast = tokenizer,
        num_rows: int = 20,
        seed: int = 0,
    ) -> Path:
        source = sources.open_source(data, repaired=repaired)
        return tokenised.tokenise(
            source, split, tokenizer=used, num_rows=num_rows, seed=seed
        ).path

    first = path()
    others = [
        path(data="newswire"),
        path(split="test", num_rows=4),
        path(repaired=False),
        path(used=other_vocabulary),
        path(used=make_tokenizer(max_length=16)),
        path(num_rows=21),
        path(seed=1),
    ]
    assert path() == first  # negative control: nothing changed, the same file
    assert len({first, *others}) == 1 + len(others)
    before = first.stat().st_mtime_ns
    file.write_text(file.read_text(encoding="utf-8").replace("story", "news"), "utf-8")
    assert path() != first, "the file's content changed"
    assert first.stat().st_mtime_ns == before


ENDLESS = """
import os, sys
from distrinews import model
from distrinews.data import tokenised
from distrinews.data.sources import Row

class Endless:
    class_names, form = ("a", "b", "c", "d"), ""

    def fingerprint(self, split, *, num_rows, seed):
        return "endless"
    def rows(self, split, *, num_rows, seed):
        for i in range(10**9):
            if i == 3000:
                print("writing", flush=True)
            yield Row("oil prices rise", i % 4)

tokenizer = model.load_tokenizer("tiny", max_length=16, texts=["oil prices rise"] * 9)
tokenised.tokenise(Endless(), "train", tokenizer=tokenizer, num_rows=None, seed=0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL does not exist there")
def test_a_run_that_is_killed_while_it_writes_leaves_no_broken_cache(
    tmp_path: Path,
) -> None:
    env = os.environ | {"DISTRINEWS_CACHE": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS], env=env, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        deadline = time.monotonic() + 20
        while not any(path.stat().st_size for path in tmp_path.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    left = list(tmp_path.iterdir())
    assert left, "it was killed before it wrote: this proof looked at nothing"
    assert [path.name for path in left if path.name.startswith("train-")] == []


def test_a_source_that_fails_in_the_middle_leaves_no_file_and_its_own_error(
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DISTRINEWS_CACHE", str(tmp_path))

    class Failing(sources.NewswireSource):
        def rows(self, split, *, num_rows, seed):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            yield sources.Row("oil", 0)
            raise DataError("row 2.", why="why", fix="fix", page="bad-data")

    with pytest.raises(DataError, match="row 2"):
        tokenised.tokenise(Failing(), "train", tokenizer=tokenizer, num_rows=4, seed=0)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_an_output_error(
    tokenizer: PreTrainedTokenizerFast,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DISTRINEWS_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="could not be written"):
        tokenise(tokenizer, num_rows=8)


def both_splits(tokenizer: PreTrainedTokenizerFast, *, seed: int) -> list[str]:
    """Tokenise or find two splits of a source; the names of their files."""
    source = sources.NewswireSource()
    tables = [
        tokenised.tokenise(source, split, tokenizer=tokenizer, num_rows=60, seed=seed)
        for split in ("train", "test")
    ]
    return [table.path.name for table in tables]


def test_a_tokenizer_that_was_used_before_finds_the_same_files(own_cache: Path) -> None:
    """Else a second run would tokenise its second split again."""
    # The first call writes the first split, and then asks for the second.
    first, second, third = (both_splits(make_tokenizer(), seed=78) for _ in range(3))
    assert first == second == third
    used = make_tokenizer()
    before = used.backend_tokenizer.to_str()
    used(["oil", "oil prices"], truncation=True, padding=True)
    assert used.backend_tokenizer.to_str() != before  # negative control: it noted that
    assert both_splits(used, seed=78) == first


def look(ranks: dist.Ranks, out: Path) -> None:
    tokenizer = make_tokenizer()
    table = tokenise(tokenizer, num_rows=1200, seed=77)
    inputs, labels = table.batch([1100, 3], device=CPU)
    # WHY in memory maps and not in open files: mapping is the promise.
    mapped = [m.path for m in psutil.Process().memory_maps()]
    result = {
        "path": str(table.path),
        "inode": table.path.stat().st_ino,
        "sum": int(inputs["input_ids"].sum()),
        "labels": labels.tolist(),
        "both": both_splits(make_tokenizer(), seed=79),
        "mapped": str(table.path.resolve()) in mapped,
    }
    (out / f"{ranks.rank}.json").write_text(json.dumps(result), encoding="utf-8")


def test_two_ranks_map_one_file_that_was_written_once(
    own_cache: Path, tmp_path: Path
) -> None:
    before = set(own_cache.iterdir())
    dist.launch(look, tmp_path, num_ranks=2, timeout_s=60)
    first, second = (
        json.loads((tmp_path / f"{rank}.json").read_text("utf-8")) for rank in range(2)
    )
    for name in ("path", "inode", "sum", "labels", "both"):
        assert first[name] == second[name]
    written = {path.name for path in set(own_cache.iterdir()) - before}
    assert written == {Path(first["path"]).name, *first["both"]}
    assert len(written) == 3
    if sys.platform == "linux":
        assert first["mapped"]
        assert second["mapped"]


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTRINEWS_CACHE", "elsewhere")
    assert tokenised.cache_folder() == Path("elsewhere")
    monkeypatch.setenv("DISTRINEWS_CACHE", "")
    assert tokenised.cache_folder() == Path.home() / ".cache" / "distrinews"


# --- split_validation -----------------------------------------------------------

# 60 rows of class 0, 30 of class 1, 10 of class 2: unequal on purpose.
LABELS = [0, 0, 1, 0, 0, 1, 0, 0, 1, 2] * 10


def test_the_split_is_disjoint_and_complete_and_gives_each_class_its_share() -> None:
    train, validation = tokenised.split_validation(LABELS, num_rows=20, seed=0)
    assert sorted([*train, *validation]) == list(range(100))
    counts = Counter(LABELS[row] for row in validation)
    assert counts == {0: 12, 1: 6, 2: 2}  # a fifth of 60, 30 and 10


def test_a_random_split_would_not_give_each_class_its_share() -> None:
    """Negative control: it misses these counts for nearly every seed."""
    hits = 0
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(100, generator=generator)[:20].tolist()
        hits += Counter(LABELS[row] for row in chosen) == {0: 12, 1: 6, 2: 2}
    assert hits < 15


def test_the_split_follows_the_seed_and_nothing_else() -> None:
    def split(seed: int) -> list[int]:
        return tokenised.split_validation(LABELS, num_rows=20, seed=seed)[1]

    assert split(4) == split(4)
    assert split(4) != split(5)
    array = np.array(LABELS)
    assert tokenised.split_validation(array, num_rows=20, seed=4)[1] == split(4)


@pytest.mark.parametrize(("num_rows", "want"), [(50, 2), (9_999, 499), (30_000, 1000)])
def test_by_default_a_twentieth_is_set_aside_and_at_most_1000(
    num_rows: int, want: int
) -> None:
    labels = [row % 4 for row in range(num_rows)]
    train, validation = tokenised.split_validation(labels, num_rows=None, seed=0)
    assert (len(train), len(validation)) == (num_rows - want, want)


@pytest.mark.parametrize(
    ("rows", "wanted"), [(100, 100), (100, 101), (100, 0), (9, None), (0, None)]
)
def test_a_split_that_leaves_one_side_empty_is_a_data_error(
    rows: int, wanted: int | None
) -> None:
    with pytest.raises(
        DataError, match=r"cannot be cut[\s\S]*100 training rows or more"
    ):
        tokenised.split_validation([0] * rows, num_rows=wanted, seed=0)


def drawn_with_lists(
    labels: list[int], num_rows: int, seed: int
) -> tuple[list[int], list[int]]:
    """The same draw, written with lists: what runs before this version set aside."""
    by_class: dict[int, list[int]] = {}
    for row, label in enumerate(labels):
        by_class.setdefault(label, []).append(row)
    rng = random.Random(seed)
    ranked = []
    for rows in by_class.values():
        rng.shuffle(rows)
        ranked += [((n + 0.5) / len(rows), row) for n, row in enumerate(rows)]
    chosen = sorted(row for _, row in sorted(ranked)[:num_rows])
    return [row for row in range(len(labels)) if row not in chosen], chosen


@pytest.mark.parametrize("num_rows", [4, 50, 333])
@pytest.mark.parametrize("seed", range(4))
def test_arrays_set_aside_the_very_rows_that_lists_did(
    num_rows: int, seed: int
) -> None:
    labels = [random.Random(f"{seed} {n}").randrange(4) for n in range(num_rows)]
    for wanted in (1, num_rows // 3, num_rows - 1):
        train, validation = tokenised.split_validation(
            labels, num_rows=wanted, seed=seed
        )
        assert (train.tolist(), validation) == drawn_with_lists(labels, wanted, seed)
    # Negative control: another seed draws others, if there is a choice.
    others = drawn_with_lists(labels, num_rows // 3, seed + 1)
    split = tokenised.split_validation(labels, num_rows=num_rows // 3, seed=seed)
    assert num_rows == 4 or split[1] != others[1]


# --- On its way to a GPU ----------------------------------------------------------


def copies(
    patch: pytest.MonkeyPatch, collect: Callable[[torch.device], object], device: str
) -> list[str]:
    """Note how tensors leave for a device that is not there: they stay on the CPU."""
    happened: list[str] = []
    pinned: set[int] = set()

    def pin_memory(tensor: torch.Tensor) -> torch.Tensor:
        copy = tensor.clone()
        pinned.add(copy.data_ptr())
        return copy

    def to(
        tensor: torch.Tensor, device: torch.device, *, non_blocking: bool = False
    ) -> torch.Tensor:
        from_pinned = tensor.data_ptr() in pinned
        queued = non_blocking and from_pinned
        happened.append("queued" if queued else "waited")
        return tensor

    with patch.context() as fake:
        fake.setattr(torch.Tensor, "pin_memory", pin_memory)
        fake.setattr(torch.Tensor, "to", to)
        collect(torch.device(device))
    return happened


def test_a_batch_for_a_gpu_is_copied_without_waiting_for_it(
    table: tokenised.TokenTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def collect(device: torch.device) -> object:
        return table.batch([0, 1], device=device)

    assert copies(monkeypatch, collect, "cuda:0") == ["queued"] * 3
    # Negative controls: what was there before, and each half of it alone.
    wrong: list[Callable[[torch.device], object]] = [
        lambda device: torch.ones(2).to(device),
        lambda device: torch.ones(2).to(device, non_blocking=True),
        lambda device: torch.ones(2).pin_memory().to(device),
    ]
    for one in wrong:
        assert copies(monkeypatch, one, "cuda:0") == ["waited"]
    # On the CPU nothing is copied at all.
    array = np.array([1, 2])
    shared = token_table.to_device(array, torch.device("cpu"))
    array[0] = 7
    assert shared.tolist() == [7, 2]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_real_gpu_a_batch_sets_off_no_wait(table: tokenised.TokenTable) -> None:
    gpu = torch.device("cuda", 0)
    on_cpu, _ = table.batch([0, 1, 2], device=torch.device("cpu"))
    table.batch([0, 1, 2], device=gpu)  # pinned memory is allocated once
    torch.cuda.set_sync_debug_mode("error")
    try:
        on_gpu, _ = table.batch([0, 1, 2], device=gpu)
        with pytest.raises(RuntimeError, match="synchronizing"):  # negative control
            torch.ones(2).to(gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for name, tensor in on_cpu.items():
        assert torch.equal(on_gpu[name].cpu(), tensor)
