"""Proofs for chapters 02 to 04: each runs to its verdict, and can say "BROKEN"."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import sys
import tempfile

import pytest
from helpers import chapters
from helpers.chapters import ROOT, TORCHRUN, Done
from helpers.running import Program

from distrinews.bench import grad_sync, timing
from distrinews.config.flags import parse
from distrinews.course.lessons import TimingSettings
from distrinews.errors import SettingsError

pytestmark = pytest.mark.timeout(180)
LESSONS = {
    name[:2]: ROOT / "chapters" / f"{name}.py"
    for name in ("02_process_group", "03_data_sharding", "04_gradient_sync")
}
QUICK = {"02": (), "03": ("--preset", "tiny"), "04": ("--preset", "tiny")}
NUM_PROMISES = {"02": 1, "03": 2, "04": 2}


def run(*words: object, **env: str | None) -> Done:
    folder = pathlib.Path(tempfile.mkdtemp(dir=chapters.workspace()))
    program = Program(words, folder=folder, env=chapters.environment(**env), cwd=folder)
    return chapters.finish(program, folder)


def verdicts(done: Done) -> list[str]:
    """What a chapter says of each of its promises, which stand in its last lines."""
    lines = [line for line in done.out.splitlines() if line.startswith("verdict: ")]
    assert done.out.splitlines()[-len(lines) :] == lines
    assert all(line.count(": ") == 2 for line in lines)  # names the promise
    return [line.rpartition(": ")[2] for line in lines]


def written(number: str) -> pathlib.Path:
    return chapters.workspace() / f"lesson_{number}.json"


@functools.cache
def lesson(number: str, *words: str) -> Done:
    if not words and number != "02":
        words = ("--json", str(written(number)))
    return run(LESSONS[number], *QUICK[number], *words)


@pytest.mark.parametrize("number", LESSONS)
def test_a_lesson_ends_with_its_verdict_and_leaves_nothing(number: str) -> None:
    done = lesson(number)
    assert done.code == 0, str(done)
    assert verdicts(done) == ["yes"] * NUM_PROMISES[number], str(done)
    assert "Traceback" not in done.err, str(done)
    assert done.left == []


@pytest.mark.slow
@pytest.mark.parametrize("num_ranks", ["1", "3", "4"])
@pytest.mark.parametrize("number", LESSONS)
def test_a_lesson_keeps_its_promise_with_other_numbers_of_ranks(
    number: str, num_ranks: str
) -> None:
    done = lesson(number, "--num-ranks", num_ranks)
    if number != "03" and num_ranks == "1":
        assert done.code == 2
        assert "at least two ranks" in done.err
    else:
        assert done.code == 0, str(done)
        assert verdicts(done) == ["yes"] * NUM_PROMISES[number], str(done)


SABOTAGE = {
    # Messages between neighbours that never leave.
    "02": "import torch.distributed as torch_dist\n"
    "torch_dist.batch_isend_irecv = lambda operations: []\n",
    # Evaluation with the rows that training pads with.
    "03": "from distrinews import sharding\n"
    "sharding.evaluation_batches = lambda lengths, ranks, batch_size: [\n"
    "    list(sharding.ShardSampler(len(lengths), ranks, seed=0, shuffle=False))]\n",
    # A wrapper that forgets to send its buckets.
    "04": "from distrinews.sync import overlap\n"
    "def forget(self, bucket):\n"
    "    bucket.flat[-1] = 0\n"
    "    self._next_bucket += 1\n"
    "overlap.Overlapped._launch = forget\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("number", LESSONS)
def test_a_broken_library_is_called_broken(number: str, tmp_path: pathlib.Path) -> None:
    """Negative control: the verdict looks at what happened."""
    # WHY this file: every Python that starts imports it, spawned ranks included.
    (tmp_path / "sitecustomize.py").write_text(SABOTAGE[number], encoding="utf-8")
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    done = run(LESSONS[number], *QUICK[number], PYTHONPATH=path)
    assert "NO, BROKEN" in verdicts(done), str(done)


@pytest.mark.slow
@pytest.mark.parametrize("number", LESSONS)
def test_a_lesson_runs_under_torchrun(number: str) -> None:
    done = run(
        *TORCHRUN,
        *("--standalone", "--nproc_per_node=2"),
        LESSONS[number],
        *QUICK[number],
    )
    assert done.code == 0, str(done)
    assert verdicts(done) == ["yes"] * NUM_PROMISES[number], str(done)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell's pipe")
def test_a_reader_who_has_read_enough_ends_the_lesson_quietly() -> None:
    done = run("sh", "-c", '"$0" "$1" | head -n 1', sys.executable, LESSONS["02"])
    assert done.out.splitlines()[0].startswith("who am I?")
    assert len(done.out.splitlines()) == 1
    assert done.err == ""
    assert done.left == []


def test_chapter_02_shows_what_each_rank_held_before_and_after() -> None:
    words = [line.split() for line in lesson("02").out.splitlines()]
    at = words.index(["all_reduce", "(sum)", "before", "after"])
    shown = [" ".join(line) for line in words[at + 1 : at + 3]]
    assert shown == ["rank 0 [1, 2] [11, 22]", "rank 1 [10, 20] [11, 22]"]
    assert "each rank sent 2 (W - 1) = 2 chunks of W" in lesson("02").out


def test_chapter_03_measures_and_writes_what_balance_gains() -> None:
    done = lesson("03")
    results = json.loads(written("03").read_text(encoding="utf-8"))["figures"]
    batches = results["batches"]
    shuffled, length = batches["shuffled"], batches["length"]
    assert shuffled["num_rows"] == length["num_rows"] == 480
    assert length["padding_share"] < 0.5 * shuffled["padding_share"]
    want = length["samples_per_s"] / shuffled["samples_per_s"]
    assert results["ratio"] == pytest.approx(want)
    assert f"balanced by length: {want:.2f}x" in done.out
    # Seven rows for rank 0 and seven for rank 1, of thirteen: row 0 is counted twice.
    assert f"{12 / 14:.4f}, exact {12 / 13:.4f}" in done.out


def test_chapter_04_writes_the_ladder() -> None:
    assert lesson("04").code == 0
    record = json.loads(written("04").read_text(encoding="utf-8"))
    results = record["figures"]
    names = {"naive", "flat", "bucketed", "overlapped", "torch_ddp"}
    assert names <= results["rungs"].keys()
    for row in results["rungs"].values():
        assert row["max_abs_diff"] == 0.0
        assert row["median_ms"] > 0
        assert row["ratio_to_ddp"] > 0
    assert "torch_ddp" in results["rungs"]
    # The baseline is DDP in its best setting, and no other.
    assert results["rungs"]["torch_ddp_views"]["ratio_to_ddp"] == 1.0
    assert record["environment"]["packages"]["torch"]
    assert record["environment"]["num_ranks"] == 2


def test_every_wrong_flag_is_named_at_once() -> None:
    words = ("--num-ranks", "0", "--preset", "gpt", "--num-rounds", "x")
    done = run(LESSONS["04"], *words)
    assert done.code == 2
    assert "Traceback" not in done.err
    for flag, value in zip(words[::2], words[1::2], strict=True):
        assert f"{flag} {value}" in done.err
    with pytest.raises(SettingsError, match="--num-ranks 99"):
        parse(TimingSettings, about="", arguments=["--num-ranks", "99"])


def test_the_committed_ladder_keeps_the_promised_figures() -> None:
    path = ROOT / "site_docs" / "benchmarks" / "results" / "sync_ladder.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["settings"]["preset"] == "minilm"
    results = record["figures"]
    times_ms = {name: row["all_ms"] for name, row in results["rungs"].items()}
    assert record["settings"]["num_rounds"] >= timing.FEWEST_ROUNDS
    assert grad_sync.figures(times_ms, {})["overlapped"]["ratio_to_ddp"] <= 1.03
    assert all(row["max_abs_diff"] == 0.0 for row in results["rungs"].values())
