"""Proofs that a mistake ends in one clear message, quickly, and harms nothing.

Each case is typed as a reader types it. What can be refused before ranks start is
refused there; the cases marked slow need ranks or a small file system.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator

import pytest
from helpers import chapters, disks
from helpers.chapters import CHAPTER_01, CHAPTER_05, SMALL, TORCHRUN, Done

from distrinews import checkpoint

posix_only = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has no such limits"
)
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="torchrun is for Linux")

GOOD_ROWS = [f'{1 + k % 4},"Title {k}","Story number {k} of today"' for k in range(200)]


def check_one_clear_error(done: Done, *says: str, page: str) -> None:
    """One block, exit code 2, no traceback, no process left."""
    assert done.code == 2, str(done)
    assert "Traceback" not in done.err + done.out, str(done)
    assert len(re.findall(r"^Error: ", done.err, re.MULTILINE)) == 1, str(done)
    block = done.err[done.err.index("Error: ") :]
    shape = r"Error: .+\n  why:  .+\n  fix:  .+\n  more: troubleshooting/#(\S+)\n"
    match = re.fullmatch(shape, block, re.DOTALL)
    assert match, str(done)
    assert match[1] == page, str(done)
    for text in says:
        assert text in block, str(done)
    assert done.left == [], str(done)
    assert not done.run_folder.exists(), "a refused run left a folder"


# --- Files ----------------------------------------------------------------------


def rows_with(*rows: str) -> bytes:
    """A good file in which one line is spoilt: line 51."""
    return "\n".join([*GOOD_ROWS[:50], *rows, *GOOD_ROWS[50:], ""]).encode()


FILES: dict[str, bytes] = {
    "good": rows_with(),
    "few": "\n".join([*GOOD_ROWS[:20], ""]).encode(),
    "empty": b"",
    "only_header": b"Class Index,Title,Description\n",
    "one_class": b"".join(b'2,"Title %d","Story"\n' % k for k in range(200)),
    "two_columns": rows_with('3,"no description"'),
    "four_columns": rows_with("3,a,b,c"),
    "class_5": rows_with('5,"Title","Story"'),
    "class_name": rows_with('Sports,"Title","Story"'),
    "empty_row": rows_with('1,"",""'),
    "long_row": rows_with(f'1,"Title","{"x" * 100_000}"'),
    "nul": rows_with('1,"Ti\0tle","Story"'),
    "latin1": "\n".join([*GOOD_ROWS, '1,"Müller","Story"', ""]).encode("latin-1"),
    "utf16": "\n".join(GOOD_ROWS).encode("utf-16"),
    "open_quote": rows_with('1,"Title,Story'),
}


@functools.cache
def file(name: str) -> pathlib.Path:
    path = chapters.workspace() / f"{name}.csv"
    path.write_bytes(FILES[name])
    return path


# --- Cases that the starting process refuses ------------------------------------


@dataclasses.dataclass(frozen=True)
class Case:
    """What is typed, and what must be answered."""

    words: Callable[[], tuple[object, ...]]
    says: tuple[str, ...]
    page: str
    env: tuple[tuple[str, str], ...] = ()
    chapter: pathlib.Path = CHAPTER_05


def typed(*words: object) -> Callable[[], tuple[object, ...]]:
    return lambda: words


def csv_case(name: str, *says: str) -> Case:
    return Case(lambda: ("--data", file(name)), says, "bad-data")


def occupied() -> tuple[object, ...]:
    path = chapters.workspace() / "not a folder"
    path.write_text("mine", encoding="utf-8")
    return ("--runs-dir", path)


@functools.cache
def closed_port() -> int:
    with socket.socket() as probe:  # free right now, and nobody listens
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


NO_HUB = (("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}"), ("HF_HUB_OFFLINE", "0"))
OFFLINE_FIXES = ("hf download", "HF_HOME", "HF_HUB_OFFLINE=1")

CASES = {
    "unknown preset": Case(typed("--preset", "huge"), ("--preset huge",), "settings"),
    "unknown data": Case(typed("--data", "bbc"), ("'bbc'", "ag_news"), "bad-data"),
    "empty file": csv_case("empty", "no rows"),
    "only a header": csv_case("only_header", "no rows"),
    "one class": csv_case("one_class", "one class", "Sports"),
    "two columns": csv_case("two_columns", "line 51", "2 columns, expected 3"),
    "four columns": csv_case("four_columns", "line 51", "4 columns, expected 3"),
    "class 5": csv_case("class_5", "line 51", "class '5', expected 1 to 4"),
    "class as a word": csv_case("class_name", "line 51", "'Sports'"),
    "empty row": csv_case("empty_row", "line 51", "empty"),
    "100,000 characters": csv_case("long_row", "line 51", "20,000 characters"),
    "NUL bytes": csv_case("nul", "line 51", "NUL"),
    "latin-1": csv_case("latin1", "line 201", "not UTF-8", "decode('CP1252')"),
    "UTF-16": csv_case("utf16", "UTF-16"),
    "a quote never closed": csv_case("open_quote", "quote"),
    "no ranks": Case(typed("--num-ranks", "0"), ("--num-ranks 0",), "settings"),
    "minus one rank": Case(typed("--num-ranks", "-1"), ("--num-ranks -1",), "settings"),
    "more ranks than rows": Case(
        typed("--num-ranks", "64", "--global-batch-size", "64", "--train-rows", "40"),
        ("40 training rows", "global batch of 64"),
        "batch-size",
    ),
    "batch not divisible": Case(
        typed("--num-ranks", "2", "--global-batch-size", "33"),
        ("33 rows does not divide by 2 ranks", "--global-batch-size 32"),
        "batch-size",
    ),
    "fewer rows than a batch": Case(
        typed("--train-rows", "31", "--validation-rows", "3"),
        ("31 training rows", "global batch of 32"),
        "batch-size",
    ),
    "as many validation rows as rows": Case(
        typed("--train-rows", "64", "--validation-rows", "64"),
        ("validation_rows (64)", "train_rows (64)"),
        "settings",
    ),
    "a number that is none": Case(
        typed("--epochs", "many"), ("--epochs many",), "settings"
    ),
    "a file where the runs should be": Case(occupied, ("not a folder",), "output"),
    "Hub refuses, data": Case(
        typed("--data", "ag_news"),
        ("fancyzhx/ag_news", "--data newswire", *OFFLINE_FIXES),
        "hub-unreachable",
        NO_HUB,
    ),
    "Hub refuses, model": Case(
        typed("--preset", "distilbert"),
        ("distilbert-base-uncased", "--preset minilm", *OFFLINE_FIXES),
        "hub-unreachable",
        NO_HUB,
    ),
    "chapter 01, class 5": dataclasses.replace(
        csv_case("class_5", "line 51"), chapter=CHAPTER_01
    ),
    "chapter 01, unknown preset": Case(
        typed("--preset", "huge"), ("--preset huge",), "settings", chapter=CHAPTER_01
    ),
}
# Also typed under other conditions below, or close to another case.
MORE_OF_THE_SAME = {
    *("four columns", "class as a word", "UTF-16", "a quote never closed"),
    *("only a header", "minus one rank", "a number that is none"),
    *("chapter 01, class 5", "chapter 01, unknown preset"),
}
parameters = [
    pytest.param(name, marks=[pytest.mark.slow] if name in MORE_OF_THE_SAME else [])
    for name in CASES
]


def outcome(name: str) -> Done:
    case = CASES[name]
    words = (case.chapter, "--preset", "tiny", *case.words())
    if not case.env:
        return chapters.run_warm(*words, expect=2)
    # What the Hub's library reads from the environment, it reads when it is imported.
    env: dict[str, str | None] = dict(case.env)
    return chapters.run(*words, env=env, expect=2, timeout_s=100)


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest,
) -> Iterator[dict[str, concurrent.futures.Future[Done]]]:
    # WHY two at a time: each case is three seconds of `import torch` on one core.
    chosen = {
        item.callspec.params["name"]
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.originalname == "test_a_mistake_ends_in_one_clear_error"
    }
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(outcome, name) for name in CASES if name in chosen}


@pytest.mark.parametrize("name", parameters)
def test_a_mistake_ends_in_one_clear_error(
    name: str, outcomes: dict[str, concurrent.futures.Future[Done]]
) -> None:
    done = outcomes[name].result()
    check_one_clear_error(done, *CASES[name].says, page=CASES[name].page)


def test_what_stood_where_the_runs_should_be_is_not_overwritten() -> None:
    words = occupied()
    chapters.run(CHAPTER_05, "--preset", "tiny", *words, expect=2)
    assert pathlib.Path(str(words[1])).read_text(encoding="utf-8") == "mine"


@pytest.mark.slow
def test_the_good_file_is_not_refused() -> None:
    """Negative control: it is the spoilt line that is refused above."""
    words = ("--preset", "tiny", "--data", file("good"), "--global-batch-size", "8")
    done = chapters.run(CHAPTER_05, *words, "--num-ranks", "1")
    assert done.result["train_rows"] + done.result["test_rows"] == 200


@contextlib.contextmanager
def silent_hub() -> Generator[tuple[int, list[float]], None, None]:
    """A server that accepts every connection and never says a word."""
    asked: list[float] = []
    open_sockets: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    asked.append(time.monotonic())
                    open_sockets.append(connection)

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server.getsockname()[1], asked
        finally:
            # WHY: `accept` in another thread does not notice close alone.
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            for connection in open_sockets:
                connection.close()


@pytest.mark.slow  # the fast form, without a chapter: test_hub.py
@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (("--data", "ag_news"), "--data newswire"),
        (("--preset", "distilbert"), "--preset minilm"),
    ],
    ids=["data", "model"],
)
def test_a_hub_that_never_answers_costs_less_than_ten_seconds(
    words: tuple[str, ...], instead: str
) -> None:
    with silent_hub() as (port, asked):
        env = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HUB_OFFLINE": "0"}
        done = chapters.run(
            CHAPTER_05, "--preset", "tiny", *words, env=env, expect=2, timeout_s=60
        )
        waited_s = time.monotonic() - asked[0]
    assert waited_s < 10, str(done)
    check_one_clear_error(done, instead, *OFFLINE_FIXES, page="hub-unreachable")


# --- Mistakes that only ranks can see -------------------------------------------


@pytest.mark.slow
def test_a_file_with_too_few_rows_is_refused_once_by_all_ranks() -> None:
    done = chapters.run(CHAPTER_05, "--preset", "tiny", "--data", file("few"), expect=2)
    assert "A rank failed" not in done.err
    assert len(re.findall(r"^Error: ", done.err, re.MULTILINE)) == 1, str(done)
    assert "global batch of 32" in done.err
    assert "Traceback" not in done.err
    assert done.left == []


@linux_only
@pytest.mark.slow
@pytest.mark.parametrize("name", ["unknown data", "batch not divisible"])
def test_under_torchrun_a_mistake_is_shown_once(name: str) -> None:
    case = CASES[name]
    done = chapters.run(
        *(*TORCHRUN, "--standalone", "--nproc_per_node=2"),
        *(CHAPTER_05, "--preset", "tiny", *case.words()),
        expect=1,  # torchrun's own: it reports "a rank failed" below our message
    )
    assert len(re.findall(r"^Error: ", done.err, re.MULTILINE)) == 1, str(done)
    assert all(text in done.err for text in case.says), str(done)
    before = done.err[: done.err.index("Error: ")]
    assert "Traceback" not in before, done  # below it stands torchrun's own
    assert "exitcode  : 2" in done.err
    assert done.left == []


# --- Disk full ------------------------------------------------------------------


def check_disk_full(done: Done) -> None:
    assert done.code == 2, str(done)
    assert len(re.findall(r"^Error: ", done.err, re.MULTILINE)) == 1, str(done)
    assert "could not be written" in done.err
    assert "--runs-dir" in done.err
    assert "troubleshooting/#output" in done.err
    assert "Traceback" not in done.err, str(done)
    assert done.left == []
    root = done.run_folder / "checkpoints"
    assert [path.name for path in root.glob("step-*")] == ["step-00000018"]
    checkpoint.verify(root / "step-00000018")
    assert sorted(path.name for path in root.iterdir()) == ["step-00000018"]


@pytest.mark.slow
@posix_only
def test_when_a_checkpoint_cannot_be_written_older_ones_stay_intact() -> None:
    """The system refuses any file beyond 2,000 KiB; the optimizer's is larger."""
    name = chapters.copy_of(chapters.small_run(), without_result=True)
    folder = chapters.small_run().run_folder.with_name(name)
    shutil.rmtree(folder / "checkpoints" / "step-00000036")
    shutil.rmtree(folder / "export")
    limited = ("sh", "-c", 'ulimit -f "$0" && exec "$@"', 4000, sys.executable)
    words = (CHAPTER_05, *SMALL, "--resume", "--num-ranks", "1")
    done = chapters.run(*limited, *words, name=name, expect=2)
    check_disk_full(done)
    assert not (folder / "result.json").exists()


@pytest.fixture
def small_disk(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of 7 MiB: one checkpoint of tiny and a half."""
    folder = tmp_path / "disk"
    folder.mkdir()
    disks.mount_or_skip(folder, size="7m")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_on_a_full_disk_two_ranks_say_so_once_and_the_run_can_go_on(
    small_disk: pathlib.Path,
) -> None:
    program, _ = chapters.start(CHAPTER_05, *SMALL, name="full", runs=small_disk)
    done = chapters.finish(program, small_disk / "full")
    check_disk_full(done)
    assert "No space left" in done.err
