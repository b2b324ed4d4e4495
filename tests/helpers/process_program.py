"""A program with ranks but without torch, so that starting it costs little.

Run   python process_program.py FUNCTION OUT NUM_RANKS
"""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import pathlib
import signal
import sys
import time

from distrinews.dist import spawn
from distrinews.errors import DataError
from distrinews.system import console

OUT = pathlib.Path(os.environ.get("RANK_OUT", "."))

if __name__ == "__mp_main__":
    # Stands for `import torch`: what a rank does before the library's first line.
    (OUT / f"importing_{os.getpid()}").touch()
    if hasattr(signal, "pthread_sigmask"):
        held_back = signal.pthread_sigmask(signal.SIG_BLOCK, set())
        names = " ".join(sorted(signal.Signals(number).name for number in held_back))
        (OUT / f"held_back_{os.getpid()}").write_text(names, encoding="utf-8")
    time.sleep(float(os.environ.get("RANK_IMPORT_S", "0")))


def at_work(rank: int) -> None:
    part = OUT / f"{rank}.part"
    part.write_text(str(os.getpid()), encoding="utf-8")
    part.rename(OUT / f"{rank}.pid")  # complete as soon as it is seen


def notice(rank: int, *, after_s: float) -> None:
    """Go on a while after another rank is at work, however long its start takes."""
    while not (OUT / f"{rank}.pid").exists():
        time.sleep(0.01)
    time.sleep(after_s)


def finish(rank: int) -> None:
    at_work(rank)
    seen = os.environ.get("RANK_ENV", "")
    kind = "child" if multiprocessing.parent_process() else "first"
    (OUT / f"{rank}.txt").write_text(f"{seen} {kind}", encoding="utf-8")


def sleep(rank: int) -> None:
    at_work(rank)
    time.sleep(120)


def sleep_deaf(rank: int) -> None:
    """Sleep, and ignore requests to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep(rank)


def watched(rank: int) -> None:
    """Rank 0 sleeps, the others compute for ever; all watch their parent."""
    spawn.exit_when_orphaned((OUT / f"last_words_{rank}").touch)
    at_work(rank)
    while True:
        if rank == 0:
            time.sleep(120)


def unwatched(rank: int) -> None:
    """The same without watching."""
    at_work(rank)
    time.sleep(20)


def raise_value_error(rank: int) -> None:
    """Rank 1 fails; rank 0 notices a little later and fails for that reason."""
    at_work(rank)
    if rank == 1:
        raise ValueError("bad row")
    notice(1, after_s=0.3)
    raise ConnectionError("peer closed")


def close_slowly(rank: int) -> None:
    """Rank 1 fails first, but is the last to end: closing takes it a while."""
    reports = os.environ.get("RANK_REPORTS") == "1"
    reporting = spawn.report_failure() if reports else contextlib.nullcontext()
    at_work(rank)
    if rank == 0:
        notice(1, after_s=0.4)
        raise ConnectionError("peer closed")
    try:
        with reporting:
            raise ValueError("bad row")
    finally:
        time.sleep(0.8)


def raise_in_the_library(rank: int) -> None:
    """The innermost frame lies in Python's own library."""
    json.loads("{" * (rank + 1))


def raise_data_error(rank: int) -> None:
    """What a vote leads to: the same error on every rank."""
    at_work(rank)
    error = DataError("no rows.", why="why", fix="fix", page="data")
    error.add_note("seen in test.csv")
    raise error


def raise_much(rank: int) -> None:
    """A message that is longer than any pipe's buffer."""
    if rank == 1:
        raise ValueError("x" * 1_000_000)
    time.sleep(120)


def die(rank: int) -> None:
    """Rank 1 is killed, as by a machine that is out of memory."""
    at_work(rank)
    if rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    notice(1, after_s=0.2)
    raise ConnectionError("peer closed")


def leave(rank: int) -> None:
    """Rank 1 ends with an exit code of its own."""
    at_work(rank)
    if rank == 1:
        sys.exit(7)
    notice(1, after_s=0.3)
    raise ConnectionError("Connection closed by peer")


def leave_at_once(rank: int) -> None:
    """Rank 1 ends, and nothing of Python's is asked."""
    if rank == 1:
        os._exit(7)
    time.sleep(120)


def leave_quietly(rank: int) -> None:
    """Rank 0 ends as if all were well; rank 1 loses it."""
    at_work(rank)
    if rank == 0:
        sys.exit(0)
    notice(0, after_s=0.3)
    raise ConnectionError("Connection closed by peer")


def return_early(rank: int) -> None:
    """Rank 1 has no work left; rank 0 loses it."""
    at_work(rank)
    if rank == 0:
        notice(1, after_s=0.3)
        raise ConnectionError("Connection closed by peer")


def all_leave(rank: int) -> None:
    """Every rank ends as if all were well."""
    at_work(rank)
    sys.exit()


def print_much(rank: int) -> None:
    """Print until nobody reads; as on Windows, if RANK_PIPE says so."""
    answers_einval = os.environ.get("RANK_PIPE") == "windows"
    try:
        while True:
            print(f"rank {rank} prints", flush=True)
    except BrokenPipeError:
        if not answers_einval:
            raise
    sys.platform = "win32"
    raise OSError(errno.EINVAL, "Invalid argument")


def start_method(rank: int) -> None:
    """Say how this rank would start processes of its own."""
    at_work(rank)
    method = multiprocessing.get_start_method()
    (OUT / f"{rank}.txt").write_text(method, encoding="utf-8")


RANK_FUNCTIONS = {
    function.__name__: function
    for function in (
        finish,
        sleep,
        sleep_deaf,
        watched,
        unwatched,
        raise_value_error,
        close_slowly,
        raise_in_the_library,
        raise_data_error,
        raise_much,
        die,
        leave,
        leave_at_once,
        leave_quietly,
        return_early,
        all_leave,
        print_much,
        start_method,
    )
}


def main() -> None:
    function, num_ranks = RANK_FUNCTIONS[sys.argv[1]], int(sys.argv[2])
    before = dict(os.environ)
    if "RANK_START_METHOD" in os.environ:
        multiprocessing.set_start_method(os.environ["RANK_START_METHOD"])
    try:
        spawn.run_ranks(function, num_ranks=num_ranks, env={"RANK_ENV": "set"})
    finally:
        restored = dict(os.environ) == before
        (OUT / "restored.txt").write_text(str(restored), encoding="utf-8")


if __name__ == "__main__":
    if "RANK_PLAIN" in os.environ:  # a script of a user's own
        main()
    console.run(main)
