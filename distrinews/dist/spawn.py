"""Start one process per rank, watch them, and leave none behind.

Promise: when `run_ranks` returns or raises, every process that it started has ended:
after success, after an error in one rank, after Ctrl-C, after SIGTERM. When the
starting process itself is killed, each rank notices and ends by itself.

Not here: what the processes say to each other (`distrinews.dist`). This module uses
nothing of torch.

Guide: understand/failures.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
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
from distrinews.errors import DistriNewsError
from distrinews.system import console
from distrinews.system.signals import cleanup_on_signal, defer_signals

__all__ = [
    "exit_when_orphaned",
    "is_reported",
    "report_began",
    "report_failure",
    "run_ranks",
]

# How long the other ranks may take to report the same failure before they are stopped.
GRACE_S = 2.0
# How often a rank without a watchable parent handle looks whether it was orphaned.
POLL_S = 0.5
# How long all ranks together may take to say which line they execute.
LOCATIONS_TIMEOUT_S = 2.0


# The process of a rank, and the parent's end of the pipe to it.
Worker = tuple[SpawnProcess, connection.Connection]
# In a rank: its number and its line to the starter.
_to_starter: tuple[int, stacks.ParentConnection] | None = None


def run_ranks(
    target: Callable[..., None], *args: Any, num_ranks: int, env: dict[str, str]
) -> None:
    """Run `target(rank, *args)` in `num_ranks` new processes and wait for them.

    Args:
        target: A function at module level; each process finds it by importing it.
        *args: What `target` gets after its rank. Must survive pickling.
        num_ranks: How many processes.
        env: Environment variables that the new processes see from their first line.

    Raises:
        DistriNewsError: A rank raised one; it is raised here again, once.
        RankFailedError: A rank raised anything else, or died without a word. Names
            the rank that failed first and carries its traceback as a note.
        KeyboardInterrupt: Ctrl-C. Every rank has ended.

    Note:
        Each process is a fresh interpreter ("spawn"), the only way that exists on
        Windows and the only safe way once CUDA or threads are in use.

    Examples:
        Needs a file of its own, because spawned processes import it:
        `distrinews.dist.launch` shows the use.
    """
    spawn = multiprocessing.get_context("spawn")
    workers: list[Worker] = []
    if hasattr(signal, "pthread_sigmask"):
        # WHY now: the first process start would start this helper of multiprocessing,
        # and doing so it lets Ctrl-C through again, whatever `defer_signals` says
        # (resource_tracker.py, seen in Python 3.11).
        resource_tracker.ensure_running()
    with cleanup_on_signal():
        try:
            with _environment(env), defer_signals():
                for rank in range(num_ranks):
                    receiver, sender = spawn.Pipe()
                    process = spawn.Process(
                        target=_run_worker,
                        args=(sender, rank, target, args),
                        name=f"rank {rank}",
                    )
                    process.start()
                    sender.close()
                    workers.append((process, receiver))
            _wait_for_all(workers)
        finally:
            _terminate(process for process, _ in workers)


def _run_worker(
    sender: connection.Connection,
    rank: int,
    target: Callable[..., None],
    args: tuple[Any, ...],
) -> None:
    """Worker entry point: run the target, report to the parent how it failed."""
    # WHY ignore Ctrl-C here: the terminal sends it to every process at once. The
    # starter decides; ranks that also reacted would print a traceback each.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        # Undo what `defer_signals` let this process inherit: SIGTERM must end it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    parent_connection = stacks.ParentConnection(sender)
    parent_connection.answer_requests()
    global _to_starter
    _to_starter = rank, parent_connection
    report_began()
    try:
        with report_failure():
            target(rank, *args)
    except BrokenPipeError:
        # An orderly exit would complain about the closed output again.
        console.exit_now(1)
    except Exception:  # its starter raises it
        sys.exit(1)  # orderly: progress bars end their lines
    console.exit_now(0)


@contextlib.contextmanager
def report_failure() -> Generator[None, None, None]:
    """Tell the starter, if there is one, of an error that leaves the block; once.

    Why: a failing rank leaves its process group, which may block, and which closes its
    connections, so that the others fail, too. The report must be on its way before, or
    the reader would see the others' failure, or none.

    Yields:
        None.

    Examples:
        >>> with contextlib.suppress(KeyError), report_failure():
        ...     raise KeyError("loss")
    """
    try:
        yield
    except Exception as error:
        if _to_starter is not None and not is_reported(error):
            rank, parent_connection = _to_starter
            with contextlib.suppress(OSError):  # the starter is gone
                parent_connection.send(_report(rank, error))
            error.is_reported = True  # type: ignore[attr-defined]
        raise


def is_reported(error: BaseException) -> bool:
    """Say whether the starter knows of this error.

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
    """Tell the starter, if there is one, that this rank has begun.

    Args:
        backend: What carries its collectives; empty before it has joined a group.
        timeout_s: How long these may wait.

    Examples:
        >>> report_began("gloo")  # alone: nobody listens
    """
    if _to_starter is not None:
        with contextlib.suppress(OSError):  # the starter knows already, or is gone
            now_s = time.perf_counter()
            _to_starter[1].send(failures.Began(backend, timeout_s, at_s=now_s))


def _report(rank: int, error: Exception) -> failures.Report:
    """How this rank failed, and when."""
    # WHY this clock: it is the same for all processes of a machine, and on Windows the
    # others tick 64 times per second only, too seldom to tell who was first.
    failed_at_s = time.perf_counter()
    course_error = error if isinstance(error, DistriNewsError) else None
    frames = traceback.extract_tb(error.__traceback__)
    location = stacks.innermost_line(frames, users_only=True)
    summary = f"{type(error).__name__}: {error} {stacks.innermost_line(frames)}"
    text = "".join(traceback.format_exception(error))
    return failures.Report(rank, failed_at_s, course_error, summary, location, text)


def _wait_for_all(workers: list[Worker]) -> None:
    """Return when every rank ended well; raise as soon as the cause is known."""
    reports: list[failures.Report] = []
    began: dict[int, failures.Began] = {}
    ended: dict[int, int] = {}  # rank -> exit code
    deadline_s = failed_at_s = float("inf")
    while len(ended) < len(workers) and time.monotonic() < deadline_s:
        running = [worker for rank, worker in enumerate(workers) if rank not in ended]
        sentinels = [process.sentinel for process, _ in running]
        pipes = [receiver for _, receiver in running if not receiver.closed]
        # WHY a bounded wait: Windows cannot be interrupted in an endless one, and
        # Ctrl-C would do nothing until a rank ended.
        connection.wait([*sentinels, *pipes], timeout=0.5)
        for rank, (process, receiver) in enumerate(workers):
            code = process.exitcode  # before the pipe: the report comes before the end
            for message in _receive(receiver):
                if isinstance(message, failures.Report):
                    reports.append(message)
                elif isinstance(message, failures.Began):
                    began[rank] = message
            if code is not None:
                ended[rank] = code
        # WHY a report, too: a rank that has failed may block while it leaves its group.
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
            failed_at_s=failed_at_s,
        )


def _receive(receiver: connection.Connection) -> list[object]:
    """What a rank has sent: that it began, and at most one report, the last word."""
    # WHY while the rank still runs: a pipe holds 64 KiB (8 KiB on Windows). A rank with
    # a longer traceback waits for its reader before it can end.
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
    """Ask, then force: after this no process is left."""
    # WHY hold signals back: a second, impatient Ctrl-C would break off this very loop
    # and leave the processes that it had not reached yet.
    with defer_signals():
        alive = [process for process in processes if process.is_alive()]
        for process in alive:
            process.terminate()
        deadline_s = time.monotonic() + GRACE_S
        for process in alive:
            process.join(max(0.0, deadline_s - time.monotonic()))
            if process.is_alive():  # stuck in compiled code that ignores SIGTERM
                process.kill()
            process.join()


@contextlib.contextmanager
def _environment(env: dict[str, str]) -> Generator[None, None, None]:
    """Set variables for the processes started inside, then restore ours."""
    before = {name: os.environ.get(name) for name in env}
    # WHY the environment and not an argument: OpenMP reads its thread count when torch
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
    """Watch the process that started this one; when it is gone, end at once.

    Why: a starter that was killed by force cannot clean up. Its ranks would go on
    for ever, holding memory and ports, waiting for each other.

    Args:
        on_exit: Called before the end, to remove what the starter would have
            removed. Its errors are ignored.

    Examples:
        >>> exit_when_orphaned(lambda: None)  # doctest: +SKIP
    """
    parent = multiprocessing.parent_process()
    parent_pid = os.getppid()
    starter = psutil.Process(parent_pid) if psutil.pid_exists(parent_pid) else None

    def is_orphaned() -> bool:
        if parent is not None:  # started by run_ranks, on any system
            return bool(connection.wait([parent.sentinel], timeout=POLL_S))
        time.sleep(POLL_S)  # started by torchrun, or by a program of the user's
        # WHY both: POSIX gives orphans a new parent; Windows keeps the old number.
        has_new_parent = os.getppid() != parent_pid
        return has_new_parent or starter is None or not starter.is_running()

    def watch() -> None:
        while not is_orphaned():
            pass
        with contextlib.suppress(Exception):
            on_exit()
        # WHY os._exit: the main thread may be inside a collective that never returns;
        # an orderly exit would wait for it.
        os._exit(1)

    threading.Thread(target=watch, name="exit-when-orphaned", daemon=True).start()
