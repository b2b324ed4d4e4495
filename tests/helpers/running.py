"""Run a program as a user does, send it signals, and find what it left behind."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence

import psutil

__all__ = [
    "HAS_WINDOWS_RULES",
    "HELPERS",
    "Program",
    "as_text",
    "is_running",
    "like_windows",
    "wait_until",
]

HELPERS = pathlib.Path(__file__).resolve().parent
MARKER = "DISTRINEWS_PROOF"
# On Windows, or where `.ci/endurance like-windows` imitates it for all tests.
HAS_WINDOWS_RULES = sys.platform == "win32" or hasattr(
    sys.modules.get("sitecustomize"), "is_in_use"
)


def like_windows() -> dict[str, str]:
    """Variables by which a program meets Windows' rules; on Windows itself none."""
    if sys.platform != "linux":
        return {}
    folders = [str(HELPERS / "like_windows"), os.environ.get("PYTHONPATH", "")]
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, folders)),
        "PYTHONIOENCODING": "cp1252",
        "PYTHONUTF8": "0",
        "USE_LIBUV": "0",
    }


def as_text(output: bytes) -> str:
    """What a program wrote, with its carriage returns but not those of CRLF.

    WHY not `read_text`: it takes a progress bar's carriage returns for line ends.
    """
    return output.decode("utf-8", errors="replace").replace("\r\n", "\n")


def wait_until(happened: Callable[[], object], *, timeout_s: float, what: str) -> float:
    """Poll until `happened()` is true; return how many seconds that took."""
    began_s = time.monotonic()
    while not happened():
        if time.monotonic() - began_s > timeout_s:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - began_s


def is_running(pid: int) -> bool:
    """Whether the process exists and is more than an entry waiting to be read."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


class Program:
    """One program and all processes that descend from it.

    Args:
        command: What to run; `sys.executable` is put in front of a `.py` file.
        folder: For its output and its temporary files.
        env: Variables to set; None as a value unsets one.
        cwd: Working directory.
    """

    def __init__(
        self,
        command: Sequence[object],
        *,
        folder: pathlib.Path,
        env: dict[str, str | None] | None = None,
        cwd: pathlib.Path | None = None,
    ) -> None:
        words = [str(word) for word in command]
        if words[0].endswith(".py"):
            words.insert(0, sys.executable)
        self.marker = uuid.uuid4().hex
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        variables: dict[str, str | None] = {
            **os.environ,
            MARKER: self.marker,
            "TMPDIR": str(self.temporary),
            "TEMP": str(self.temporary),
            **(env or {}),
        }
        self._out, self._err = folder / "out.txt", folder / "err.txt"
        # WHY files and not pipes: a process left behind would keep a pipe open, and
        # reading it to its end would hang instead of failing the proof.
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={k: v for k, v in variables.items() if v is not None},
                cwd=cwd,
                # WHY: a group of its own, like a job in a terminal; a Ctrl-C sent to
                # it must not reach pytest.
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8", errors="replace")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8", errors="replace")

    def press_ctrl_c(self) -> None:
        """Send SIGINT as a terminal does: to every process of the job."""
        os.killpg(self.process.pid, signal.SIGINT)

    def exit_code(self, *, timeout_s: float = 60) -> int:
        """Wait for the program itself."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not end: {self.out}\n{self.err}") from None

    def processes(self) -> list[psutil.Process]:
        """Every living process that inherited this program's environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                marked = process.environ().get(MARKER) == self.marker
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def commands(self) -> list[list[str]]:
        """Command lines of those processes that are still there."""
        found = []
        for process in self.processes():
            # It may end between being found and being asked.
            with contextlib.suppress(psutil.Error):
                found.append(process.cmdline())
        return found

    def seconds_until_nothing_is_left(self, *, timeout_s: float) -> float:
        """Wait for the last process of this program; return how long that took."""
        return wait_until(
            lambda: not self.processes(),
            timeout_s=timeout_s,
            what=f"the end of {self.commands()}",
        )

    def temporary_files(self) -> list[str]:
        """What lies in the temporary folder of this program."""
        return sorted(path.name for path in self.temporary.iterdir())

    def kill_everything(self) -> None:
        """Kill every process, and wait until none is left."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        self.process.wait(30)
        # WHY wait: a kill is a request. On a busy machine a killed process is still
        # there when `kill` returns.
        self.seconds_until_nothing_is_left(timeout_s=10)
