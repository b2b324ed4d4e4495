"""Proofs for distrinews.system.console: one clear message, and the right exit code."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers.running import HELPERS

from distrinews.errors import DataError
from distrinews.system import console

PROGRAM = str(HELPERS / "console_program.py")
DATA_ERROR = (
    "Error: no rows.\n  why:  why\n  fix:  fix\n  more: troubleshooting/#data\n"
)
posix_only = pytest.mark.skipif(
    sys.platform == "win32", reason="POSIX signals do not exist on Windows"
)


def end(ending: str, **env: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a program that ends so."""
    done = subprocess.run(
        (sys.executable, PROGRAM, ending),
        capture_output=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **env},
    )
    # WHY by hand: Windows ends its lines differently.
    out, err = done.stdout.decode(), done.stderr.decode()
    return done.returncode, out.replace("\r\n", "\n"), err.replace("\r\n", "\n")


def test_a_program_that_ends_well_exits_with_0() -> None:
    assert end("well") == (0, "Хоккей\n", "")


@posix_only
def test_a_rank_that_has_done_its_work_does_not_die_of_its_libraries() -> None:
    assert end("well_but_dies_in_teardown", RANK="1") == (0, "Хоккей\nsaved\n", "")
    # Negative control: an orderly exit takes the library apart.
    code, out, _ = end("well_but_dies_in_teardown")
    assert (code, out) == (-signal.SIGABRT, "Хоккей\nsaved\n")


def test_a_console_that_cannot_show_an_alphabet_shows_its_codes() -> None:
    code, out, err = end("well", PYTHONIOENCODING="cp1252")
    assert (code, err) == (0, "")
    assert out == "Хоккей\n".encode("cp1252", "backslashreplace").decode()


def test_a_users_mistake_is_told_once_without_traceback_and_exits_with_2() -> None:
    assert end("mistake") == (2, "", DATA_ERROR)


def test_under_torchrun_only_rank_0_tells_it_but_every_rank_exits_with_2() -> None:
    assert end("mistake", RANK="0") == (2, "", DATA_ERROR)
    assert end("mistake", RANK="1") == (2, "", "")


def test_a_crash_of_a_rank_shows_its_traceback_first_and_exits_with_1() -> None:
    code, out, err = end("crash_of_a_rank")
    assert (code, out) == (1, "")
    assert err.splitlines()[:2] == [
        "Traceback of rank 1",
        "A rank failed: rank 1 died.",
    ]


def test_an_unexpected_crash_keeps_its_traceback() -> None:
    """Negative control: only errors with a cure are shortened."""
    for ending in ("crash", "while_importing_crash"):
        code, _, err = end(ending)
        assert code == 1
        assert err.startswith("Traceback (most recent call last):")
        assert err.endswith("KeyError: 'loss'\n")


@posix_only
@pytest.mark.parametrize("ending", ["interrupt", "interrupt_twice"])
def test_ctrl_c_exits_with_130_and_one_line(ending: str) -> None:
    message = "Interrupted. What had been saved before is intact.\n"
    assert end(ending) == (130, "", message)
    assert end(ending, RANK="1") == (130, "", "")


@posix_only
@pytest.mark.parametrize("ending", ["while_importing", "interrupt_while_it_is_told"])
def test_ctrl_c_outside_of_main_exits_with_130_and_one_line(ending: str) -> None:
    assert end(ending) == (130, "", "Interrupted.\n")


@posix_only
@pytest.mark.parametrize("ending", ["little", "much"])
def test_a_reader_that_closes_the_pipe_is_no_error(ending: str) -> None:
    # WHY: unbuffered, the error comes from `print`; buffered, from the very last flush.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        (sys.executable, PROGRAM, ending),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    began_s = time.monotonic()
    err = process.stderr.read().decode()
    process.stderr.close()
    assert (process.wait(30), err) == (0, "")
    assert time.monotonic() - began_s < 10


@pytest.mark.parametrize("is_closed", [True, False])
def test_windows_answer_to_a_closed_pipe_is_no_error_either(
    is_closed: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(console, "_output_is_closed", lambda: is_closed)
    # Negative control: with an open output EINVAL is a crash like any other.
    expected = SystemExit if is_closed else OSError
    with pytest.raises(expected):
        console.run(fail)


def test_a_file_name_that_windows_does_not_allow_is_no_closed_pipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It answers both with the same number."""
    for platform, is_closed in (("win32", True), ("linux", False)):
        monkeypatch.setattr(sys, "platform", platform)
        error = OSError(errno.EINVAL, "Invalid argument")
        assert console.is_closed_pipe(error) is is_closed
        assert not console.is_closed_pipe(OSError(errno.EINVAL, "Invalid", "a?.csv"))
        assert console.is_closed_pipe(BrokenPipeError("rank 0 raised ..."))


@posix_only
def test_another_broken_pipe_is_a_crash() -> None:
    """Negative control: exit code 0 does not hide it."""
    code, _, err = end("another_pipe")
    assert code == 1
    assert "BrokenPipeError" in err


def test_run_ends_the_program_also_when_called_from_python(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise DataError("no rows.", why="why", fix="fix", page="data")

    with pytest.raises(SystemExit) as caught:
        console.run(fail)
    assert caught.value.code == 2
    assert capsys.readouterr().err == DATA_ERROR
