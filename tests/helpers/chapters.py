"""Run chapters as a reader does, each kind of run once for all proofs that look at it.

A run costs ten seconds and more, nearly all of it imports. Asking its folder one more
question costs nothing, so the runs are cached here for the whole session.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from helpers import warm
from helpers.running import Program, as_text
from safetensors.torch import load_file

__all__ = [
    "CHAPTER_01",
    "CHAPTER_05",
    "LONG",
    "ROOT",
    "SMALL",
    "TORCHRUN",
    "Done",
    "copy_of",
    "environment",
    "fingerprint",
    "finish",
    "follow",
    "long_run",
    "run",
    "run_warm",
    "same_training_state",
    "small_run",
    "start",
    "weights",
    "workspace",
]

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHAPTER_01 = ROOT / "chapters" / "01_single_gpu.py"
CHAPTER_05 = ROOT / "chapters" / "05_ddp_training.py"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
# 640 - 64 rows in steps of 32: 18 steps an epoch. 101 test rows: a prime number, which
# no number of ranks divides.
SMALL = (
    # WHY dropout: its random states, one a rank, are what a resume gets wrong first.
    *("--dropout", "0.1"),
    *("--preset", "tiny", "--train-rows", "640", "--validation-rows", "64"),
    *("--test-rows", "101", "--epochs", "2"),
)
# Time for a signal to arrive in the middle; a checkpoint each 18 steps.
LONG = (*SMALL[:-1], "12")
_number = itertools.count()


@dataclasses.dataclass(frozen=True)
class Done:
    """A program that ended.

    Attributes:
        code: Its exit code; negative for a signal.
        out: Standard output.
        err: Standard error.
        seconds: Wall clock, start-up included.
        left: Command lines of its processes that were still there half a second later.
        run_folder: Where the run lies, if it was one.
    """

    code: int
    out: str
    err: str
    seconds: float
    left: list[list[str]]
    run_folder: pathlib.Path

    def __str__(self) -> str:
        return (
            f"\nrc {self.code} after {self.seconds:.1f} s, left {self.left}\n"
            f"--- stdout\n{self.out}\n--- stderr\n{self.err}"
        )

    @property
    def result(self) -> dict[str, Any]:
        """The run's result.json."""
        text = (self.run_folder / "result.json").read_text(encoding="utf-8")
        return dict(json.loads(text))


@functools.cache
def workspace() -> pathlib.Path:
    """A folder for this session, removed at its end."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="distrinews-proofs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment(**more: str | None) -> dict[str, str | None]:
    """What every program here sees: a cache of its own, no Hub, one thread a rank."""
    return {
        "DISTRINEWS_CACHE": str(workspace() / "cache"),
        "HF_HOME": str(workspace() / "hf"),
        "HF_HUB_OFFLINE": "1",
        # WHY one: sums over another number of threads differ in the last bit, and
        # torchrun sets 1 while the launcher divides the cores.
        "OMP_NUM_THREADS": "1",
        "PYTHONIOENCODING": "utf-8",
        **more,
    }


def start(
    *words: object,
    name: str | None = None,
    env: dict[str, str | None] | None = None,
    cwd: pathlib.Path | None = None,
    runs: pathlib.Path | None = None,
) -> tuple[Program, pathlib.Path]:
    """Start a chapter; return the program and its run folder.

    A `--runs-dir` among the words counts instead of ours.
    """
    folder = workspace() / f"program {next(_number)}"
    folder.mkdir()
    name = name or f"run-{next(_number)}"
    runs = runs or workspace() / "runs"
    command = (*words, "--run-name", name)
    if "--runs-dir" not in words:
        command = (*command, "--runs-dir", runs)
    program = Program(
        command, folder=folder, env=environment(**(env or {})), cwd=cwd or folder
    )
    return program, runs / name


def finish(
    program: Program,
    run_folder: pathlib.Path,
    *,
    timeout_s: float = 200,
    began_s: float | None = None,
) -> Done:
    """Wait for a program and see what it left."""
    began_s = time.monotonic() if began_s is None else began_s
    try:
        code = program.exit_code(timeout_s=timeout_s)
        seconds = time.monotonic() - began_s
        # WHY wait: multiprocessing's resource tracker ends when it sees us gone.
        deadline_s = time.monotonic() + 2
        while program.processes() and time.monotonic() < deadline_s:
            time.sleep(0.05)
        left = program.commands()
        out, err = (as_text(f.read_bytes()) for f in (program._out, program._err))
        return Done(code, out, err, seconds, left, run_folder)
    finally:
        program.kill_everything()


def run(*words: object, expect: int = 0, **options: Any) -> Done:
    """Run a chapter to its end."""
    timeout_s = options.pop("timeout_s", 200)
    began_s = time.monotonic()
    done = finish(*start(*words, **options), timeout_s=timeout_s, began_s=began_s)
    assert done.code == expect, done
    return done


def run_warm(*words: object, expect: int = 0, name: str | None = None) -> Done:
    """As `run`, but torch is imported already, where that can be."""
    if not warm.AVAILABLE:
        return run(*words, expect=expect, name=name)
    folder = workspace() / f"program {next(_number)}"
    folder.mkdir()
    name = name or f"run-{next(_number)}"
    words = (*words, "--run-name", name)
    if "--runs-dir" not in words:
        words = (*words, "--runs-dir", workspace() / "runs")
    out, err = folder / "out.txt", folder / "err.txt"
    env = {k: v for k, v in (os.environ | environment()).items() if v is not None}
    began_s = time.monotonic()
    program = warm.program(
        [str(word) for word in words], folder=folder, out=out, err=err, env=env
    )
    program.join(60)
    done = Done(
        -1 if program.exitcode is None else program.exitcode,
        as_text(out.read_bytes()),
        as_text(err.read_bytes()),
        time.monotonic() - began_s,
        list((left := warm.left_in_session(program.pid)).values()),
        workspace() / "runs" / name,
    )
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert done.code == expect, done
    return done


@functools.cache
def small_run(*more: str) -> Done:
    """Chapter 05 on two ranks, undisturbed, with dropout."""
    return run(CHAPTER_05, *SMALL, *more)


@functools.cache
def long_run() -> Done:
    """The same for twelve epochs: what disturbed runs are compared with."""
    return run(CHAPTER_05, *LONG)


def copy_of(done: Done, *, without_result: bool = False) -> str:
    """Copy a run's folder under a new name; return the name."""
    name = f"copy-{next(_number)}"
    folder = shutil.copytree(done.run_folder, done.run_folder.with_name(name))
    if without_result:
        (folder / "result.json").unlink()
    return name


def fingerprint(folder: pathlib.Path) -> dict[str, tuple[str, int]]:
    """Content and time of change of every file below a folder."""
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def weights(folder: pathlib.Path) -> dict[str, torch.Tensor]:
    """The weights of a run's last checkpoint."""
    newest = max((folder / "checkpoints").glob("step-*"))
    return load_file(newest / "weights.safetensors")


def same_training_state(one: pathlib.Path, other: pathlib.Path) -> None:
    """Assert that two runs ended in the same state, bit for bit."""
    newest = [max((folder / "checkpoints").glob("step-*")) for folder in (one, other)]
    assert newest[0].name == newest[1].name
    for file in ("weights", "optimizer", "random"):
        first, second = (load_file(n / f"{file}.safetensors") for n in newest)
        assert first.keys() == second.keys()
        assert first, f"{file} is empty"
        for key, tensor in first.items():
            assert torch.equal(tensor, second[key]), f"{file}: {key} differs"


def follow(
    program: Program, happened: Callable[[], object], *, timeout_s: float = 120
) -> None:
    """Wait until something has happened while the program still runs."""
    deadline_s = time.monotonic() + timeout_s
    while not happened():
        ended = program.process.poll() is not None
        late = time.monotonic() > deadline_s
        if ended or late:
            what = (program.process.returncode, program.out, program.err)
            program.kill_everything()
            raise AssertionError(f"it did not come so far: {what}")
        time.sleep(0.005)
