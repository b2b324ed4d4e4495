"""Proofs for chapters/launch.sh: torchrun with the right flags, or a clear error."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from helpers.running import HAS_WINDOWS_RULES, HELPERS

from distrinews.system import machine

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "chapters" / "launch.sh"
pytestmark = pytest.mark.skipif(
    HAS_WINDOWS_RULES or shutil.which("bash") is None,
    reason="launch.sh is for Linux and Kaggle; it needs bash",
)
# An interpreter that answers the script's question about the machine, and otherwise
# says what it was asked to run instead of running it.
FAKE_PYTHON = """#!/usr/bin/env bash
if [[ "$1" == -c ]]; then echo "a warning" >&2; echo "$FAKE_ANSWER"; exit; fi
printf '%s\\n' "OMP=$OMP_NUM_THREADS" "GLOO=${GLOO_SOCKET_IFNAME:-none}" "$@"
"""


def launch(
    *words: object, cwd: pathlib.Path, path: str | None = None, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run the script; `path` goes in front of PATH, by default this interpreter's."""
    front = path or str(pathlib.Path(sys.executable).parent)
    return subprocess.run(
        ["bash", str(SCRIPT), *map(str, words)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=90,
        check=False,
        env={**os.environ, "PATH": f"{front}{os.pathsep}{os.environ['PATH']}", **env},
    )


@pytest.fixture
def fake(tmp_path: pathlib.Path) -> str:
    """A folder to put in front of PATH: the fake interpreter lies in it."""
    folder = tmp_path / "fake"
    folder.mkdir()
    python = folder / "python3"
    python.write_text(FAKE_PYTHON, encoding="utf-8")
    python.chmod(0o755)
    return str(folder)


@pytest.fixture
def chapter(tmp_path: pathlib.Path) -> pathlib.Path:
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    return pathlib.Path(
        shutil.copy(HELPERS / "launched_program.py", folder / "09 program.py")
    )


@pytest.mark.slow
def test_a_real_run_starts_ranks_passes_flags_on_and_keeps_every_ranks_output(
    chapter: pathlib.Path,
) -> None:
    folder = chapter.parent
    done = launch("-n", "2", "-l", "my logs", chapter.name, "-n", "1 2", cwd=folder)
    assert done.returncode == 0, done.stderr
    logs = {}
    for stream in ("stdout", "stderr"):
        files = list((folder / "my logs").rglob(f"{stream}.log"))
        assert sorted(file.parent.name for file in files) == ["0", "1"]
        for file in files:
            logs[file.parent.name, stream] = file.read_text(encoding="utf-8")
    for rank in ("0", "1"):
        arguments, env = json.loads(logs[rank, "stdout"])
        assert arguments == ["-n", "1 2"]
        assert env == {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": "2",
            "OMP_NUM_THREADS": str(max(1, machine.num_cores() // 2)),
            "PYTHONUNBUFFERED": "1",
            "GLOO_SOCKET_IFNAME": machine.loopback_interface(),
            "MASTER_ADDR": "127.0.0.1",
        }
        assert logs[rank, "stderr"] == f"error output of {rank}\n"
    # On the terminal only rank 0, and every line says so.
    assert done.stdout == f"[rank 0] {logs['0', 'stdout']}"
    assert "[rank 0] error output of 0" in done.stderr
    assert "error output of 1" not in done.stderr


@pytest.mark.parametrize(
    ("words", "answer", "want", "threads"),
    [
        ([], "4 8 lo", 4, 2),  # one rank per GPU
        ([], "1 8 lo", 1, 8),
        ([], "0 8 lo", 2, 4),  # no GPU: two
        ([], "0 1 lo", 2, 1),  # never zero threads
        (["-n", "3"], "4 8 lo", 3, 2),  # the argument wins
    ],
)
def test_the_number_of_ranks_is_the_argument_else_the_gpus_else_two(
    words: list[str],
    answer: str,
    want: int,
    threads: int,
    fake: str,
    chapter: pathlib.Path,
) -> None:
    folder = chapter.parent
    done = launch(*words, chapter, cwd=folder, path=fake, FAKE_ANSWER=answer)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[:2] == [f"OMP={threads}", "GLOO=lo"]
    assert f"--nproc_per_node={want}" in said
    assert "--standalone" in said
    assert said[-1] == str(chapter)
    assert f"ranks: {want}" in done.stderr


def test_what_the_user_has_set_is_kept(fake: str, chapter: pathlib.Path) -> None:
    done = launch(
        chapter,
        cwd=chapter.parent,
        path=fake,
        FAKE_ANSWER="0 8 -",
        OMP_NUM_THREADS="7",
    )
    # Negative control for GLOO: without a loopback's name nothing is set.
    assert done.stdout.splitlines()[:2] == ["OMP=7", "GLOO=none"]


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "", "99999"])
def test_a_number_of_processes_that_is_none_is_an_error(
    value: str, tmp_path: pathlib.Path
) -> None:
    done = launch("-n", value, "01_single_gpu.py", cwd=tmp_path)
    check_error(done, "NUM_PROCESSES is" if value else "the value of -n is empty")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "there is no chapter ''"),
        (["99_nothing.py"], "there is no chapter '99_nothing.py'"),
        (["."], "there is no chapter '.'"),
        (["-n"], "-n is the last word"),
        (["--num-ranks", "2", "01_single_gpu.py"], "unknown option --num-ranks"),
    ],
)
def test_a_missing_or_misplaced_word_is_an_error(
    words: list[str], what: str, tmp_path: pathlib.Path
) -> None:
    done = launch(*words, cwd=tmp_path)
    check_error(done, what)
    if "no chapter" in what:
        numbered = sorted(path.name for path in SCRIPT.parent.glob("[0-9]*.py"))
        assert numbered
        assert " ".join(numbered) in done.stderr


def test_a_missing_torchrun_is_an_error_that_names_the_interpreter(
    fake: str, chapter: pathlib.Path
) -> None:
    python = pathlib.Path(fake) / "python3"
    python.write_text(
        "#!/bin/sh\necho 'No module named torch' >&2; exit 1\n",
        encoding="utf-8",
        newline="\n",
    )
    done = launch(chapter, cwd=chapter.parent, path=fake)
    check_error(done, f"torchrun cannot run with {python}: No module named torch")


def test_a_chapter_is_found_beside_the_script_from_any_folder(
    fake: str, tmp_path: pathlib.Path
) -> None:
    first = min(SCRIPT.parent.glob("[0-9]*.py"))
    done = launch(first.name, "--x", cwd=tmp_path, path=fake, FAKE_ANSWER="0 2 lo")
    assert done.stdout.splitlines()[-2:] == [str(first), "--x"]


def test_help_explains_the_words_and_starts_nothing(tmp_path: pathlib.Path) -> None:
    done = launch("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "[-n NUM_PROCESSES]" in done.stdout
    assert "#" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="no shellcheck here")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(
        ["shellcheck", str(SCRIPT)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "")


def check_error(done: subprocess.CompletedProcess[str], what: str) -> None:
    """The three parts of an error, exit code 2, and nothing was started."""
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0].startswith(f"Error: {what}")
    assert lines[1].startswith("  why:  ")
    assert lines[2].startswith("  fix:  ")
    assert len(lines) == 3
