"""Run a lab or a check with a time limit, and leave nothing of it behind.

Not here: the programs (`distrinews.course.labs`, `distrinews.course.exercises`), and
judging their output (`distrinews.cli`). No torch is loaded here.

Guide: learn/labs.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import psutil

from distrinews.system.signals import cleanup_on_signal

__all__ = [
    "ERROR_PREFIXES",
    "LAUNCHER_VARIABLES",
    "NOTHING_WRONG",
    "PASSED",
    "Finished",
    "run",
]

# How the library's line about a failure begins.
ERROR_PREFIXES = ("A rank failed: ", "Error: ")
# After this time a program is killed.
LIMIT_S = 120.0
# The last line of a lab, or of a check, that found nothing wrong.
NOTHING_WRONG = "-- the detector finds nothing wrong --"
PASSED = "-- the check finds nothing wrong --"
LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


@dataclass(frozen=True)
class Finished:
    """How a program ended, and what it printed."""

    code: int
    text: str
    took_s: float

    @property
    def is_right(self) -> bool:
        """Whether it ended without an error and its detector or check approved."""
        lines = self.text.splitlines()
        return self.code == 0 and (NOTHING_WRONG in lines or PASSED in lines)

    @property
    def reason(self) -> str:
        """Why it failed: the library's message, or the last line of the output."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith(ERROR_PREFIXES)]
        return (errors or lines or [f"it printed nothing; exit code {self.code}"])[-1]


def run(
    arguments: tuple[str, ...],
    *,
    cwd: pathlib.Path | None = None,
    echo: bool = True,
    limit_s: float = LIMIT_S,
) -> Finished:
    """Run Python with these arguments, and leave nothing of it behind.

    Args:
        arguments: After the interpreter.
        cwd: Working folder.
        echo: Print its output while it runs.
        limit_s: After this time it is killed.

    Returns:
        Exit code, output (both streams in order), seconds. A program that was killed
        after `limit_s` has exit code -9.
    """
    began_s = time.monotonic()
    # A separate folder for temporary files, so that those of a killed program are
    # deleted too.
    with (
        cleanup_on_signal(),
        tempfile.TemporaryDirectory(
            prefix="distrinews-lab-", ignore_cleanup_errors=True
        ) as temporary,
    ):
        log = pathlib.Path(temporary) / "output.txt"
        # A file instead of a pipe: a process that was left behind would keep the pipe
        # open, and reading it to its end would wait for that process.
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=_clean_environment(temporary),
                start_new_session=True,  # so that all its processes can be killed
            )
        try:
            ended = _wait_and_echo(
                process, log, deadline_s=began_s + limit_s, echo=echo
            )
        finally:
            _stop(process)
        text = log.read_text(encoding="utf-8", errors="replace")
    if not ended:
        text += f"It did not end within {limit_s:g} s and was stopped.\n"
    return Finished(process.returncode, text, time.monotonic() - began_s)


def _clean_environment(temporary: str) -> dict[str, str]:
    # The debug variables would change torch's messages.
    removed = {*LAUNCHER_VARIABLES, "TORCH_DISTRIBUTED_DEBUG", "TORCH_CPP_LOG_LEVEL"}
    environment = {
        name: value for name, value in os.environ.items() if name not in removed
    }
    return environment | {
        "TMPDIR": temporary,
        "TEMP": temporary,
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }


def _wait_and_echo(
    process: subprocess.Popen[bytes],
    log: pathlib.Path,
    *,
    deadline_s: float,
    echo: bool,
) -> bool:
    """Wait for the end and show the output meanwhile; return whether it ended."""
    with log.open(encoding="utf-8", errors="replace") as output:
        running = True
        while running and time.monotonic() < deadline_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                running = False
            if echo:
                print(output.read(), end="", flush=True)
    return not running


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the program and everything that it started."""
    members = []
    with contextlib.suppress(psutil.Error):
        members = psutil.Process(process.pid).children(recursive=True)
    if sys.platform != "win32":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # This also reaches processes whose parent has already ended.
            os.killpg(process.pid, 9)
    for member in members:
        with contextlib.suppress(psutil.Error):
            member.kill()
    process.kill()
    process.wait()
