"""Proofs for helpers.warm: a process that starts warm behaves as a new one."""

from __future__ import annotations

import json
import os
import pathlib
import sys

import pytest
import torch
from helpers import chapters, warm
from helpers.chapters import CHAPTER_05

from distrinews import dist
from distrinews.errors import RankFailedError

pytestmark = pytest.mark.skipif(not warm.AVAILABLE, reason="needs a safe fork")


def look(ranks: dist.Ranks, folder: pathlib.Path) -> None:
    facts = {
        "pid": os.getpid(),
        "torch_threads": torch.get_num_threads(),
        "variables": {n: os.environ.get(n) for n in ("OMP_NUM_THREADS", "MY_OWN")},
        "sum": dist.sum_over_ranks(ranks.rank + 1),
    }
    (folder / f"{ranks.rank}.json").write_text(json.dumps(facts), encoding="utf-8")


def fail(ranks: dist.Ranks) -> None:
    if ranks.rank == 1:
        raise ValueError("bad row")


def test_a_rank_is_a_process_with_the_environment_of_a_new_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for threads in ("1", "2"):  # the second rank must not see what the first was given
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        monkeypatch.setenv("MY_OWN", f"my {threads}")
        dist.launch(look, tmp_path, num_ranks=2, timeout_s=60)
        facts = [json.loads((tmp_path / f"{r}.json").read_text("utf-8")) for r in "01"]
        assert len({os.getpid(), *(fact["pid"] for fact in facts)}) == 3
        for fact in facts:
            assert fact["torch_threads"] == int(threads)
            want = {"OMP_NUM_THREADS": threads, "MY_OWN": f"my {threads}"}
            assert fact["variables"] == want
            assert fact["sum"] == 3


def test_a_failing_rank_is_named_as_ever() -> None:
    with pytest.raises(RankFailedError, match="rank 1 raised ValueError: bad row"):
        dist.launch(fail, num_ranks=2, timeout_s=60)


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--preset", "huge"), ("--help",)])
def test_a_program_ends_with_the_words_and_the_code_of_a_new_one(
    words: tuple[str, ...],
) -> None:
    code = 0 if words == ("--help",) else 2
    cold = chapters.run(CHAPTER_05, *words, expect=code)
    started_warm = chapters.run_warm(CHAPTER_05, *words, expect=code)
    assert started_warm.out == cold.out
    assert started_warm.err == cold.err
    assert started_warm.left == cold.left == []


def test_what_a_program_leaves_behind_is_found(tmp_path: pathlib.Path) -> None:
    """Negative control."""
    script = tmp_path / "leaves.py"
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    script.write_text(f"import subprocess; subprocess.Popen({command})")
    done = chapters.run_warm(script)
    assert done.left == [command]
