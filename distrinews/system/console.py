"""Run a program's `main` so that its user meets one clear message and an exit code.

Promise: a `DistriNewsError` is printed once, without a traceback, and ends the program
with code 2; Ctrl-C ends it with 130; a headline in any alphabet can be printed on any
console, also on a Windows console that knows 256 characters.

Not here: what the errors say (`distrinews.errors`), stopping the other ranks
(`distrinews.dist.spawn`).
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from distrinews.errors import DistriNewsError, RankFailedError

__all__ = [
    "INTERRUPTED_EXIT_CODE",
    "counted",
    "exit_now",
    "is_closed_pipe",
    "quiet_interrupts",
    "run",
]

# 128 + SIGINT: what shells report for a program that Ctrl-C ended.
INTERRUPTED_EXIT_CODE = 128 + signal.SIGINT


def quiet_interrupts() -> None:
    """Make Ctrl-C end this process with code 130 and no traceback from now on.

    Why: `import torch` takes seconds. A reader who changes their mind in those seconds
    should not be shown forty lines of somebody else's import machinery. Call it before
    the slow imports; `run` does the same for everything after them.

    A chapter is started without a launcher, and sorted imports load torch before
    anything of ours. So its first statement must be this call: no import of ours comes
    early enough, and one that changed `sys.excepthook` would do so in users' programs.

    Examples:
        >>> quiet_interrupts()
        >>> sys.excepthook is not sys.__excepthook__
        True
    """
    previous_hook = sys.excepthook

    def hook(
        error_type: type[BaseException],
        error: BaseException,
        trace: TracebackType | None,
    ) -> None:
        if not issubclass(error_type, KeyboardInterrupt):
            previous_hook(error_type, error, trace)
            return
        _print_on_rank0("Interrupted.")
        # WHY os._exit: after this hook Python would kill itself with SIGINT, which a
        # parent process sees as -2 and not as the 130 that scripts test for.
        os._exit(INTERRUPTED_EXIT_CODE)

    sys.excepthook = hook


def counted(number: int, noun: str) -> str:
    """Write a number and its noun, in the singular or in the plural.

    Args:
        number: How many.
        noun: In the singular; an s makes its plural.

    Returns:
        The words.

    Examples:
        >>> counted(1, "rank"), counted(2, "rank"), counted(0, "rank")
        ('1 rank', '2 ranks', '0 ranks')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"


def run(main: Callable[[], None]) -> NoReturn:
    """Call `main` and exit: 0, 2 for a user's mistake, 1 for a crash, 130 for Ctrl-C.

    Args:
        main: The program, without arguments and without a result.

    Raises:
        SystemExit: With the exit code, unless a rank of torchrun's succeeded: it ends
            by `exit_now`. On every rank; only rank 0 prints.
        OSError: Another pipe than our output broke: a crash like any other.

    Examples:
        >>> run(lambda: print("done"))
        Traceback (most recent call last):
        ...
        SystemExit: 0
    """
    quiet_interrupts()
    _never_fail_to_print()
    try:
        main()
        # WHY: what is still in the buffer would meet a closed pipe after our `except`.
        sys.stdout.flush()
    except DistriNewsError as error:
        _print_on_rank0(_as_text(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        # WHY: a second Ctrl-C while Python shuts down would kill it with SIGINT, and a
        # script would see -2 instead of 130.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _print_on_rank0("Interrupted. What had been saved before is intact.")
        sys.exit(INTERRUPTED_EXIT_CODE)
    except OSError as error:
        if not is_closed_pipe(error) or not _output_is_closed():
            raise  # another pipe broke: a crash, and exit code 0 would hide it
    if "RANK" in os.environ:  # torchrun started this process
        exit_now(0)
    sys.exit(0)


def is_closed_pipe(error: BaseException) -> bool:
    """Say whether an error comes from writing into a pipe that no process reads.

    Args:
        error: Any.

    Returns:
        True for a broken pipe; on Windows also for EINVAL without a file's name, which
        it answers in that case (not run on Windows).

    Source: https://github.com/python/cpython/issues/79935

    Examples:
        >>> is_closed_pipe(BrokenPipeError(errno.EPIPE, "Broken pipe"))
        True
        >>> is_closed_pipe(FileNotFoundError(errno.ENOENT, "No such file"))
        False
    """
    # WHY the name: for a file name that it does not allow, Windows answers EINVAL, too.
    return isinstance(error, BrokenPipeError) or (
        sys.platform == "win32"
        and isinstance(error, OSError)
        and error.errno == errno.EINVAL
        and error.filename is None
    )


def exit_now(code: int) -> NoReturn:
    """End a rank that has finished, without taking its libraries apart.

    Why: torch's background threads may still run while an orderly exit unloads them.
    About one rank in a few hundred then died by SIGABRT ("terminate called without an
    active exception", torch 2.13), after all its work was done and saved; a launcher
    takes that for a failed run.

    Args:
        code: The exit code.

    Raises:
        SystemExit: Never; the process ends here. What `atexit` knows is run before,
            and what was printed is flushed.

    Examples:
        >>> exit_now(0)  # doctest: +SKIP
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # a closed console
            stream.flush()
    os._exit(code)


def _output_is_closed() -> bool:
    """Whether no process reads our output any more, as after `... | head`."""
    try:
        print(flush=True)
    except OSError:
        # WHY: Python would complain again at exit, when it flushes; pointing stdout at
        # nothing keeps the terminal clean.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _as_text(error: DistriNewsError) -> str:
    """The error as the user sees it; a crash of a rank shows its traceback first."""
    notes = "".join(f"{note}\n" for note in getattr(error, "__notes__", []))
    heading = "A rank failed" if isinstance(error, RankFailedError) else "Error"
    return f"{notes}{heading}: {error}"


def _print_on_rank0(text: str) -> None:
    """Print to standard error, once: under torchrun every rank runs this program."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)


def _never_fail_to_print() -> None:
    """Replace characters the console cannot show instead of raising in mid-run."""
    for stream in (sys.stdout, sys.stderr):
        # WHY: a Windows console with code page 1252 cannot encode most alphabets.
        # Without this, printing a user's headline raises UnicodeEncodeError after
        # minutes of training.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
