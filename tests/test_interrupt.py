"""Proofs that Ctrl-C and SIGTERM end a run at any moment: quietly, wholly, safely.

What no program can cover: the first milliseconds of Python's own start, before its
first line of ours has run. There Python itself answers Ctrl-C, with a traceback or by
dying of the signal. The proofs begin where `console.quiet_interrupts` has been called,
which is before the first slow import.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import signal
import sys
import time
from collections.abc import Callable

import psutil
import pytest
from helpers import chapters
from helpers.chapters import CHAPTER_01, CHAPTER_05, LONG, Done
from helpers.running import Program

from distrinews import checkpoint

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="signals as a Linux terminal sends them"
)
INTERRUPTED = (
    "Interrupted.",  # during imports
    "Interrupted. What had been saved before is intact.",
)
Moment = Callable[[Program, pathlib.Path], object]


# --- Moments --------------------------------------------------------------------


def importing(program: Program, folder: pathlib.Path) -> bool:
    """Python is inside `import torch`, which takes seconds."""
    with contextlib.suppress(OSError):
        maps = pathlib.Path(f"/proc/{program.process.pid}/maps")
        return "libtorch_cpu" in maps.read_text(encoding="utf-8")
    return False


def ranks_importing(program: Program, folder: pathlib.Path) -> bool:
    return len(ranks_of(program)) == 2


def training(program: Program, folder: pathlib.Path) -> bool:
    return (folder / "metrics.jsonl").exists()


def saving(program: Program, folder: pathlib.Path) -> bool:
    """The first checkpoint is being written: its draft is there."""
    return bool(list(folder.glob("checkpoints/.step-*")))


def one_is_saved(program: Program, folder: pathlib.Path) -> bool:
    return (folder / "checkpoints" / "step-00000018").exists()


def ranks_of(program: Program) -> list[psutil.Process]:
    ranks = []
    for process in program.processes():
        with contextlib.suppress(psutil.Error):
            if any("spawn_main" in word for word in process.cmdline()):
                ranks.append(process)
    return ranks


# --- What is sent ---------------------------------------------------------------


def ctrl_c(program: Program) -> None:
    """As a terminal does: to every process of the job."""
    program.press_ctrl_c()


def sigint(program: Program) -> None:
    """As `kill -INT` does: to the starting process alone."""
    program.process.send_signal(signal.SIGINT)


def sigterm(program: Program) -> None:
    program.process.send_signal(signal.SIGTERM)


def as_a_shell_says(code: int) -> int:
    """A program that dies of signal n is reported as 128 + n."""
    return 128 - code if code < 0 else code


def interrupted_at(
    moment: Moment, send: Callable[[Program], None], *words: object
) -> Done:
    program, folder = chapters.start(*(words or (CHAPTER_05, *LONG)))
    chapters.follow(program, lambda: moment(program, folder))
    send(program)
    return chapters.finish(program, folder, timeout_s=60)


def check_quiet_end(done: Done, *, code: int) -> None:
    assert as_a_shell_says(done.code) == code, str(done)
    assert "Traceback" not in done.err, str(done)
    assert done.left == [], str(done)
    assert done.seconds < 15, str(done)
    if code == 130:
        # WHY look behind the last "\r": a progress bar may stand in the same line.
        lines = [line.split("\r")[-1] for line in done.err.splitlines()]
        said = sum(line.endswith(INTERRUPTED) for line in lines)
        assert said == 1, str(done)
    check_what_was_saved(done)


def check_what_was_saved(done: Done) -> None:
    assert not (done.run_folder / "result.json").exists()
    for folder in (done.run_folder / "checkpoints").glob("step-*"):
        checkpoint.verify(folder)


# --- The usual set --------------------------------------------------------------


def test_ctrl_c_during_the_imports_is_quiet() -> None:
    done = interrupted_at(importing, ctrl_c)
    check_quiet_end(done, code=130)
    assert not done.run_folder.exists()


@pytest.mark.slow
def test_ctrl_c_in_training_ends_every_rank_and_leaves_intact_checkpoints() -> None:
    done = interrupted_at(one_is_saved, ctrl_c)
    check_quiet_end(done, code=130)
    assert (done.run_folder / "checkpoints" / "step-00000018").exists()


def test_sigterm_ends_every_rank_with_143() -> None:
    done = interrupted_at(ranks_importing, sigterm)
    check_quiet_end(done, code=143)


# --- The full set ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("send", [ctrl_c, sigint], ids=["group", "parent alone"])
@pytest.mark.parametrize(
    "moment", [importing, ranks_importing, training, saving, one_is_saved]
)
def test_sigint_at_this_moment_is_quiet_and_harmless(
    moment: Moment, send: Callable[[Program], None]
) -> None:
    check_quiet_end(interrupted_at(moment, send), code=130)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [importing, training, saving])
def test_sigterm_at_this_moment_ends_every_rank(moment: Moment) -> None:
    check_quiet_end(interrupted_at(moment, sigterm), code=143)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [importing, training, saving])
def test_ctrl_c_in_chapter_01_is_quiet_and_harmless(moment: Moment) -> None:
    check_quiet_end(interrupted_at(moment, ctrl_c, CHAPTER_01, *LONG), code=130)


@pytest.mark.slow
@pytest.mark.parametrize(
    "turn",
    # Four among the slow proofs, all in .ci/endurance.
    [pytest.param(t, marks=[pytest.mark.endurance] * (t % 5 > 0)) for t in range(16)],
)
def test_sigint_after_any_delay_is_quiet_and_harmless(turn: int) -> None:
    """A sweep over the whole run: 0 to 14 seconds after our first line."""
    delay_s = turn * 0.9 + random.Random(turn).random() * 0.9
    began_s = time.monotonic()

    def after_a_while(program: Program, folder: pathlib.Path) -> bool:
        nonlocal began_s
        if not importing(program, folder):
            began_s = time.monotonic()
        done = (folder / "result.json").exists()
        return done or time.monotonic() - began_s > delay_s

    done = interrupted_at(after_a_while, ctrl_c if turn % 2 else sigint)
    if (done.run_folder / "result.json").exists():
        # The run was over: what is left of the program may end either way.
        assert as_a_shell_says(done.code) in (0, 130), str(done)
        assert "Traceback" not in done.err, str(done)
        return
    check_quiet_end(done, code=130)


@pytest.mark.slow
def test_after_ctrl_c_the_run_goes_on_and_ends_bit_for_bit_the_same() -> None:
    broken_off = interrupted_at(one_is_saved, ctrl_c)
    check_quiet_end(broken_off, code=130)
    name = broken_off.run_folder.name
    done = chapters.run(CHAPTER_05, *LONG, "--resume", name=name)
    assert "after step 0" not in done.out
    chapters.same_training_state(done.run_folder, chapters.long_run().run_folder)


@pytest.mark.slow
def test_a_second_impatient_ctrl_c_changes_nothing() -> None:
    def twice(program: Program) -> None:
        program.press_ctrl_c()
        time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):
            program.press_ctrl_c()

    check_quiet_end(interrupted_at(training, twice), code=130)


@pytest.mark.slow
def test_without_a_signal_the_run_would_have_gone_on() -> None:
    """Negative control: what ends the runs above is the signal."""
    program, folder = chapters.start(CHAPTER_05, *LONG)
    chapters.follow(program, lambda: training(program, folder))
    time.sleep(0.2)
    assert program.process.poll() is None
    assert len(ranks_of(program)) == 2
    os.killpg(program.process.pid, signal.SIGKILL)
    program.kill_everything()
