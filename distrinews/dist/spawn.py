"""Start one process per rank, watch them, and leave no process behind.

When `run_ranks` returns or raises, every process that it started has ended: after
success, after an error in one rank, after Ctrl-C, after SIGTERM. If the launcher itself
is killed, each rank notices and ends by itself.

Not here: communication between the ranks (`distrinews.dist`). This module does not use
torch.

Guide: understand/failures.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from multiprocessing import connection, resource_tracker
from multiprocessing.context import SpawnProcess
from typing import Any

import psutil

from distrinews.dist import failures, stacks
from distrinews.errors import DistriNewsError, SetupError
from distrinews.system import console
from distrinews.system.signals import cleanup_on_signal, defer_signals

__all__ = [
    "exit_when_orphaned",
    "has_starter",
    "is_reported",
    "report_of",
    "report_began",
    "report_failure",
    "run_ranks",
]

# How long the other ranks may take to report the same failure before they are stopped.
GRACE_S = 2.0
# How often a rank without a handle of its parent checks whether it was orphaned.
POLL_S = 0.5
# How long all ranks together may take to report which line they execute.
LOCATIONS_TIMEOUT_S = 2.0


# The process of a rank, and the parent's end of the pipe to it.
Worker = tuple[SpawnProcess, connection.Connection]
# In a rank: its number and its connection to the launcher.
_to_starter: tuple[int, stacks.ParentConnection] | None = None


def run_ranks(
    target: Callable[..., None], *args: Any, num_ranks: int, env: dict[str, str]
) -> None:
    """Run `target(rank, *args)` in `num_ranks` new processes and wait for them.

    Args:
        target: A function at module level; each process imports it.
        *args: Passed to `target` after its rank. Each must pickle.
        num_ranks: How many processes.
        env: Environment variables that the new processes have from the start.

    Raises:
        SetupError: A new process could not import the function, or an argument does not
            pickle. No process was started, or all have ended.
        DistriNewsError: A rank raised one; it is raised here again, once.
        RankFailedError: A rank raised anything else, or died without a report. Names
            the rank that failed first and carries its traceback as a note.
        KeyboardInterrupt: Ctrl-C. Every rank has ended.

    Note:
        Each process is a fresh interpreter ("spawn"), the only way on Windows and the
        only safe way once CUDA or threads are in use. Processes that a rank starts
        itself, such as DataLoader workers, start as they would in this program: on
        Linux by fork, unless you called `multiprocessing.set_start_method`. Instead of
        "forkserver", the default of Python 3.14 on Linux, they use "spawn".

    Examples:
        Needs a separate file, because spawned processes import it; see
        `distrinews.dist.launch`.
    """
    _check_importable(target, *args)
    spawn = multiprocessing.get_context("spawn")
    start_method = _start_method()
    workers: list[Worker] = []
    if hasattr(signal, "pthread_sigmask"):
        # Now, because otherwise the first process start would start this helper of
        # multiprocessing, which unblocks Ctrl-C again despite `defer_signals`
        # (resource_tracker.py, seen in Python 3.11).
        resource_tracker.ensure_running()
    with cleanup_on_signal():
        try:
            with _environment(env), defer_signals():
                for rank in range(num_ranks):
                    ends: tuple[Any, Any] = spawn.Pipe()  # Windows' class is another
                    receiver, sender = ends
                    process = spawn.Process(
                        target=_run_worker,
                        args=(sender, rank, start_method, target, args),
                        name=f"rank {rank}",
                    )
                    with _explain_pickling():
                        process.start()
                    sender.close()
                    workers.append((process, receiver))
            _wait_for_all(workers)
        finally:
            _terminate(process for process, _ in workers)


def _run_worker(
    sender: connection.Connection,
    rank: int,
    start_method: str,
    target: Callable[..., None],
    args: tuple[Any, ...],
) -> None:
    """Worker entry point: run the target, and report a failure to the launcher."""
    # A spawned process would also spawn its own children. Each DataLoader worker would
    # then import torch and the program in every epoch; under torchrun on Linux they are
    # forked.
    multiprocessing.set_start_method(start_method, force=True)
    # Ignore Ctrl-C here: the terminal sends it to every process at once. The launcher
    # handles it; ranks that also reacted would print one traceback each.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Both conditions: mypy needs the platform, and tests remove the function.
    if sys.platform != "win32" and hasattr(signal, "pthread_sigmask"):
        # Undo the mask inherited from `defer_signals`: SIGTERM must end this process.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    parent_connection = stacks.ParentConnection(sender)
    parent_connection.answer_requests()
    global _to_starter
    _to_starter = rank, parent_connection
    report_began()
    try:
        with report_failure(target):
            target(rank, *args)
    except Exception as error:  # the launcher raises it
        if console.is_closed_pipe(error):
            # An orderly exit would report the closed output again.
            console.exit_now(1)
        sys.exit(1)  # orderly: progress bars end their lines
    console.exit_now(0)


@contextlib.contextmanager
def report_failure(
    function: Callable[..., None] | None = None,
) -> Generator[None, None, None]:
    """Tell the launcher, if there is one, how this rank leaves the block; once.

    Why: a rank that leaves its process group closes its connections, so the ranks that
    wait for it fail. Its report must be sent before that, or the reader would see the
    others' failure, or none. Leaving a group may also block.

    Args:
        function: The function that the block runs.

    Yields:
        None.

    Raises:
        SystemExit: It left the block, like any other error.

    Examples:
        >>> with contextlib.suppress(KeyError), report_failure():
        ...     raise KeyError("loss")
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if _to_starter is not None and not is_reported(error):
            _send(report_of(_to_starter[0], error))
            error.is_reported = True  # type: ignore[union-attr]
        raise
    name = getattr(function, "__name__", "its function")
    _send(failures.Left(f"it returned from {name}", time.perf_counter()))


def _send(message: object) -> None:
    """Send a message to the launcher, which may be gone."""
    if _to_starter is not None:
        with contextlib.suppress(OSError):
            _to_starter[1].send(message)


def has_starter() -> bool:
    """Return whether `run_ranks` started this process.

    Returns:
        False alone and under torchrun.

    Examples:
        >>> has_starter()
        False
    """
    return _to_starter is not None


def is_reported(error: BaseException) -> bool:
    """Return whether this error was sent to the launcher.

    Args:
        error: What a rank raised.

    Returns:
        True after `report_failure` has sent it.

    Examples:
        >>> is_reported(KeyError("loss"))
        False
    """
    return getattr(error, "is_reported", False)


def report_began(backend: str = "", *, timeout_s: float = 0.0) -> None:
    """Tell the launcher, if there is one, that this rank has begun.

    Args:
        backend: The backend of its collectives; empty before it has joined a group.
        timeout_s: How long they may wait.

    Examples:
        >>> report_began("gloo")  # alone: nothing happens
    """
    _send(failures.Began(backend, timeout_s, at_s=time.perf_counter()))


def report_of(
    rank: int, error: Exception | SystemExit
) -> failures.Report | failures.Left:
    """Describe how this rank failed or left, where and when.

    Args:
        rank: This one.
        error: The error that leaves its function.

    Returns:
        A `Report`; for `sys.exit()` and `sys.exit(0)` a `Left`, which is no error.
    """
    # This clock is the same for all processes of a machine, and on Windows the others
    # tick only 64 times per second, too rarely to tell which rank was first.
    failed_at_s = time.perf_counter()
    frames = traceback.extract_tb(error.__traceback__)
    location = stacks.innermost_line(frames, users_only=True)
    course_error = error if isinstance(error, DistriNewsError) else None
    summary = f"{type(error).__name__}: {error} {stacks.innermost_line(frames)}"
    if isinstance(error, SystemExit):
        code = "" if error.code is None else repr(error.code)
        summary = f"sys.exit({code}) {location}"
        if error.code in (None, 0):
            return failures.Left(f"it called {summary}", failed_at_s)
    text = "".join(traceback.format_exception(error))
    return failures.Report(
        rank,
        failed_at_s,
        course_error,
        summary,
        location,
        text,
        is_closed_pipe=console.is_closed_pipe(error),
    )


def _wait_for_all(workers: list[Worker]) -> None:
    """Return when every rank has succeeded; raise as soon as the cause is known."""
    reports: list[failures.Report] = []
    began: dict[int, failures.Began] = {}
    left: dict[int, failures.Left] = {}
    ended: dict[int, int] = {}  # rank -> exit code
    deadline_s = failed_at_s = float("inf")
    while len(ended) < len(workers) and time.monotonic() < deadline_s:
        running = [worker for rank, worker in enumerate(workers) if rank not in ended]
        sentinels = [process.sentinel for process, _ in running]
        pipes = [receiver for _, receiver in running if not receiver.closed]
        # A bounded wait, because on Windows Ctrl-C cannot interrupt an endless one and
        # would do nothing until a rank ended.
        connection.wait([*sentinels, *pipes], timeout=0.5)
        for rank, (process, receiver) in enumerate(workers):
            code = process.exitcode  # before the pipe: a report is sent before the exit
            for message in _receive(receiver):
                if isinstance(message, failures.Report):
                    reports.append(message)
                elif isinstance(message, failures.Began):
                    began[rank] = message
                elif isinstance(message, failures.Left):
                    left.setdefault(rank, message)  # the innermost one has more detail
            if code is not None:
                ended[rank] = code
        # A report counts too: a failed rank may block while it leaves its group.
        if deadline_s == float("inf") and (reports or any(ended.values())):
            failed_at_s = time.perf_counter()
            deadline_s = time.monotonic() + GRACE_S
    if reports or any(ended.values()):
        pipes = [receiver for _, receiver in workers]
        locations, others = stacks.request_locations(
            pipes, timeout_s=LOCATIONS_TIMEOUT_S
        )
        reports += [said for said in others if isinstance(said, failures.Report)]
        failed = {report.rank for report in reports}
        hanging = [
            rank for rank in range(len(workers)) if rank not in ended.keys() | failed
        ]
        failures.raise_root_cause(
            reports,
            ended,
            hanging=hanging,
            locations=locations,
            began=began,
            left=left,
            failed_at_s=failed_at_s,
        )


def _receive(receiver: connection.Connection) -> list[object]:
    """The messages of a rank: that it began or left, and at most one report."""
    # Read while the rank still runs: a pipe holds 64 KiB (8 KiB on Windows), and a rank
    # with a longer traceback waits for its reader before it can end.
    messages: list[object] = []
    try:
        while not receiver.closed and receiver.poll():
            messages.append(receiver.recv())
            if isinstance(messages[-1], failures.Report):
                receiver.close()
    except (EOFError, OSError):
        receiver.close()
    return messages


def _terminate(processes: Iterator[SpawnProcess]) -> None:
    """Ask the processes to end, then kill them; after this none is left."""
    # Hold signals back: a second, impatient Ctrl-C would interrupt this loop and leave
    # the processes that it had not reached yet.
    with defer_signals():
        alive = [process for process in processes if process.is_alive()]
        for process in alive:
            process.terminate()
        deadline_s = time.monotonic() + GRACE_S
        for process in alive:
            # Not join(timeout), because it waits for a pipe that a rank's DataLoader
            # workers have inherited, and these end up to 5 s later.
            while process.is_alive() and time.monotonic() < deadline_s:
                time.sleep(0.01)
            if process.is_alive():  # stuck in compiled code that ignores SIGTERM
                process.kill()
            process.join()


def _check_importable(*functions: Any) -> None:
    """Raise SetupError for a function that a new process could not import."""
    main = sys.modules.get("__main__")
    for function in functions:
        name = getattr(function, "__qualname__", "")
        code = getattr(function, "__code__", None)
        if code is None:
            continue  # not a function; `_explain_pickling` reports what does not pickle
        if "<lambda>" in name or "<locals>" in name:
            kind = "a lambda" if "<lambda>" in name else "defined inside a function"
            place = f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
            raise SetupError(
                f"{name} ({place}) is {kind}.",
                why="each rank is a new process that finds its function by importing "
                "its file; only names at module level can be imported.",
                fix="def it at the top level of the file, and pass it what it needs: "
                "dist.launch(train, settings, num_ranks=2).",
                page="function-in-notebook",
            )
        is_in_main = function.__module__ == "__main__"
        if is_in_main and not os.path.isfile(getattr(main, "__file__", None) or ""):
            raise SetupError(
                f"{name} is not defined in a file: it is in a notebook cell or in "
                "`python -c`.",
                why="each rank is a new process that finds its function by importing "
                "its file.",
                fix="begin the cell with `%%writefile train.py` and run it; then, in "
                "another cell: `from train import train`, or `!python train.py`.",
                page="function-in-notebook",
            )


@contextlib.contextmanager
def _explain_pickling() -> Generator[None, None, None]:
    """Explain the error if an argument cannot be sent to a new process."""
    try:
        yield
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        if not any(word in str(error).lower() for word in ("pickle", "local object")):
            raise
        raise SetupError(
            f"an argument of the ranks' function cannot be sent to them: {error}.",
            why="each rank is a new process; its arguments are pickled and sent to it.",
            fix="pass plain values, paths or module-level functions, and open "
            "files, connections and generators inside the function.",
            page="function-in-notebook",
        ) from error


def _start_method() -> str:
    """How ranks start their own processes: as this program would."""
    # allow_none, because asking without it would fix the default, and the caller could
    # not choose another method later.
    method = multiprocessing.get_start_method(allow_none=True)
    method = method or multiprocessing.get_all_start_methods()[0]
    # Not the default of Python 3.14 on Linux: a fork server and its workers keep each
    # other alive after their rank was killed (seen: an hour later).
    return "spawn" if method == "forkserver" else method


@contextlib.contextmanager
def _environment(env: dict[str, str]) -> Generator[None, None, None]:
    """Set variables for the processes started inside, then restore ours."""
    before = {name: os.environ.get(name) for name in env}
    # In the environment, not as an argument: OpenMP reads its thread count when torch
    # is loaded, and a new process loads torch while it unpickles its arguments.
    os.environ.update(env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def exit_when_orphaned(on_exit: Callable[[], None]) -> None:
    """Watch the process that started this one, and end as soon as it is gone.

    Why: a launcher that was killed by force cannot clean up. Its ranks would run
    forever, holding memory and ports and waiting for each other.

    Args:
        on_exit: Called before the end, to remove what the launcher would have removed.
            Its errors are ignored.

    Examples:
        >>> exit_when_orphaned(lambda: None)  # doctest: +SKIP
    """
    parent = multiprocessing.parent_process()
    parent_pid = os.getppid()
    starter: psutil.Process | None = None
    was_gone = False
    try:
        starter = psutil.Process(parent_pid)
    except psutil.NoSuchProcess:
        # WHY not elsewhere: a living parent can be invisible. The first process of a
        # container has parent 0; some clusters hide other users' processes.
        was_gone = sys.platform == "win32"

    def is_orphaned() -> bool:
        if parent is not None:  # started by run_ranks, on any system
            return bool(connection.wait([parent.sentinel], timeout=POLL_S))
        time.sleep(POLL_S)  # started by torchrun or by the user's program
        # Both, because POSIX gives orphans a new parent and Windows keeps the old id.
        has_new_parent = os.getppid() != parent_pid
        has_ended = was_gone or (starter is not None and not starter.is_running())
        return has_new_parent or has_ended

    def watch() -> None:
        while not is_orphaned():
            pass
        with contextlib.suppress(Exception):
            on_exit()
        # os._exit, because the main thread may be inside a collective that never
        # returns, and an orderly exit would wait for it.
        os._exit(1)

    threading.Thread(target=watch, name="exit-when-orphaned", daemon=True).start()
