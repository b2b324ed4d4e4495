"""A program that ends in every way a program can. Run it with the name of one."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time

from distrinews.errors import DataError, RankFailedError
from distrinews.system import console


def well() -> None:
    print("Хоккей")


def little() -> None:
    """So little output that it stays in the buffer until the very end."""
    time.sleep(0.3)
    print("one line")


def much() -> None:
    while True:
        print("line after line")


def another_pipe() -> None:
    """A pipe breaks that is not our output."""
    reader, writer = os.pipe()
    os.close(reader)
    os.write(writer, b"x")


def well_but_dies_in_teardown() -> None:
    """As torch's background threads did, after the program's last line."""

    class Library:
        def __del__(self) -> None:
            os.abort()

    sys.modules["a_library"] = Library()  # type: ignore[assignment]
    well()
    atexit.register(print, "saved")


def mistake() -> None:
    raise DataError("no rows.", why="why", fix="fix", page="data")


def crash_of_a_rank() -> None:
    error = RankFailedError("rank 1 died.", why="why", fix="fix", page="rank-failed")
    error.add_note("Traceback of rank 1")
    raise error


def crash() -> None:
    raise KeyError("loss")


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)


def interrupt_twice() -> None:
    try:
        interrupt()
    finally:
        os.kill(os.getpid(), signal.SIGINT)


def interrupt_while_it_is_told() -> None:
    class SlowError(DataError):
        def __str__(self) -> str:
            interrupt()
            return "too late"

    raise SlowError("no rows.", why="why", fix="fix", page="data")


ENDINGS = {
    ending.__name__: ending
    for ending in (
        well,
        well_but_dies_in_teardown,
        little,
        much,
        another_pipe,
        mistake,
        crash_of_a_rank,
        crash,
        interrupt,
        interrupt_twice,
        interrupt_while_it_is_told,
    )
}

if __name__ == "__main__":
    if sys.argv[1] == "while_importing":
        console.quiet_interrupts()
        interrupt()  # stands for a Ctrl-C during `import torch`
    if sys.argv[1] == "while_importing_crash":
        console.quiet_interrupts()
        crash()
    console.run(ENDINGS[sys.argv[1]])
