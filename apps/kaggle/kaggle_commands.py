"""Run commands from a cell: shown, followed, and ended with the cell.

Promise: no cell starts a rank. Whatever trains is a program of its own, shown as the
command that it is; when its cell is interrupted or the notebook ends, so does it. This
process loads neither torch nor the library, so it holds no GPU.

Not here: which commands (the notebook).

Guide: howto/kaggle.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Commands", "Done"]

# A progress bar under torchrun is a line for each of its states: thousands an hour.
PROGRESS_BAR = re.compile(r"(\[rank \d+\] )?(\w[\w ]*: *(\d+)%\|.*)?")
PROGRESS_BAR_EVERY_S = 10.0
# Asked of a process of its own: a CUDA context in this one would keep memory of GPU 0.
LIST_GPUS = """
import json, torch
from distrinews.system import gpus
seen = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
usable = [torch.cuda.get_device_name(number) for number in gpus.usable()]
print(json.dumps([usable, [r for r in map(gpus.why_unusable, seen) if r]]))
"""


@dataclass(frozen=True)
class Done:
    """How a command ended, and everything that it printed."""

    code: int
    text: str = field(repr=False)

    def _ipython_display_(self) -> None:
        """Show nothing: Jupyter would print what a cell's last line returns."""


@dataclass(frozen=True)
class Commands:
    """Where commands run, and where their files go.

    Attributes:
        work: Kaggle shows what is in it under Output.
        checkout: The repository.
        python: The interpreter that runs commands.
        pack: The data set of `python -m distrinews kaggle pack`, or None: packages come
            from the network.
        weights: A folder with distilbert-base-uncased, or None: they are the Hub's.
    """

    work: pathlib.Path
    checkout: pathlib.Path
    python: str = field(default=sys.executable)
    pack: pathlib.Path | None = None
    weights: pathlib.Path | None = None

    def resume(self, run_name: str) -> tuple[str, ...]:
        """Resume a run that exists: a cell may be run twice, a session may end.

        Args:
            run_name: Its folder below `runs`.

        Returns:
            The flag, if the run's folder exists.
        """
        return ("--resume",) if (self.work / "runs" / run_name).exists() else ()

    def gpus(self) -> tuple[list[str], list[str]]:
        """Name the GPUs that torch can compute on, and those that it only sees.

        Returns:
            One name per usable GPU; one reason per GPU for which torch has no kernels.
        """
        result = subprocess.run(
            [self.python, "-c", LIST_GPUS],
            env=self._environment(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        usable, refused = json.loads(result.stdout.splitlines()[-1])
        return list(usable), list(refused)

    def run(
        self,
        *words: object,
        check: bool = True,
        quiet: bool = False,
        until: Callable[[], bool] | None = None,
    ) -> Done:
        """Run a command, show its output while it runs, and wait for its end.

        Args:
            *words: The command. "python" is this interpreter.
            check: Fail if the command does.
            quiet: Show the output only if the command fails and `check` is set.
            until: Interrupt the command as soon as this is true.

        Returns:
            How it ended. An interrupted command ends with another code than 0.

        Raises:
            RuntimeError: It failed, and `check` is set.
        """
        command = [str(word) for word in words]
        print("$", shlex.join(command), flush=True)
        if command[0] == "python":
            command[0] = self.python
        # In this process group: when a cell is interrupted, Jupyter signals the whole
        # group, and so reaches torchrun.
        process = subprocess.Popen(
            command,
            cwd=self.work,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            text = _follow(process, until, quiet=quiet)
            code = process.wait()
        finally:
            _terminate(process)
        if check and code != 0:
            if quiet:
                print(text)
            raise RuntimeError(f"the command above failed with exit code {code}.")
        return Done(code, text)

    def run_until(self, *words: object, exists: pathlib.Path) -> Done:
        """Run a command and end it in its middle, as the end of a session does.

        Args:
            *words: The command.
            exists: End it as soon as this path exists.

        Returns:
            How it ended.
        """
        result = self.run(*words, check=False, until=exists.exists)
        print(f"\ninterrupted after {exists.name}: exit code {result.code}")
        return result

    def _environment(self) -> dict[str, str]:
        """What commands see: this interpreter and this checkout before all others."""
        chosen = {"PYTHONUNBUFFERED": "1"}
        if self.pack is not None:
            # pip builds a wheel, too, when the folder of the Space is made.
            chosen |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.pack)}
        if self.weights is not None:
            chosen["DISTRINEWS_DISTILBERT"] = str(self.weights)
        paths = {
            "PATH": str(pathlib.Path(self.python).parent),
            "PYTHONPATH": str(self.checkout),
        }
        for name, first in paths.items():
            existing = os.environ.get(name)
            paths[name] = os.pathsep.join([first, existing] if existing else [first])
        return {**os.environ, **paths, **chosen}


class _OutputPrinter:
    """Prints a command's output as it comes, of progress bars only some states."""

    def __init__(self, *, silent: bool = False) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._chunks: list[str] = []
        self._rest = ""
        self._last_bar_s = -PROGRESS_BAR_EVERY_S
        self.silent = silent

    @property
    def text(self) -> str:
        """Everything that came, also what was not printed."""
        return "".join(self._chunks)

    def feed(self, output: bytes, *, last: bool = False) -> None:
        """Print what is complete; with `last` also the rest."""
        self._chunks.append(self._decoder.decode(output, final=last))
        *lines, self._rest = re.split(r"[\r\n]", self._rest + self._chunks[-1])
        if last and self._rest:
            lines.append(self._rest)
        for line in lines:
            if not self.silent and self._should_print(line):
                print(line, flush=True)

    def _should_print(self, line: str) -> bool:
        bar = PROGRESS_BAR.fullmatch(line)
        if bar is None:
            return True
        now_s = time.monotonic()
        is_early = now_s < self._last_bar_s + PROGRESS_BAR_EVERY_S
        if not bar[2] or (bar[3] != "100" and is_early):
            return False
        self._last_bar_s = now_s
        return True


def _follow(
    process: subprocess.Popen[bytes],
    until: Callable[[], bool] | None,
    *,
    quiet: bool,
) -> str:
    """Print a command's output until it ends or is interrupted; return it."""
    if process.stdout is None:
        raise ValueError("the command was started without a pipe.")
    pipe = process.stdout.fileno()
    os.set_blocking(pipe, False)
    printer = _OutputPrinter(silent=quiet)
    interrupted = False
    while True:
        ended = process.poll() is not None
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(pipe, 65536):
                printer.feed(chunk)
        if ended:
            printer.feed(b"", last=True)
            return printer.text
        if until is not None and not interrupted and until():
            # WHY silent from here on: what torchrun says of the signal that we send is
            # a page of traceback.
            interrupted = printer.silent = True
            process.terminate()
        time.sleep(0.02)


def _terminate(process: subprocess.Popen[bytes]) -> None:
    """End a command that still runs, because the reader interrupted its cell."""
    if process.poll() is None:
        process.terminate()  # torchrun passes it on to its ranks
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
