"""Where is a rank right now? Ask it, also when its main thread is stuck.

Promise: a rank that waits, loops or sleeps for ever still answers, because a thread of
its own does; only a frozen process does not.

Not here: what is made of the answers (`distrinews.dist.spawn`).

Guide: understand/failures.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from multiprocessing import connection

__all__ = ["Location", "ParentConnection", "innermost_line", "request_locations"]

# The folder of Python's own modules.
PYTHON_LIBRARY = os.path.dirname(os.__file__)
THIS_LIBRARY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Location(str):
    """Where a rank's main thread is, in words."""


class ParentConnection:
    """A rank's end of the pipe to its starter; two threads may speak on it.

    Args:
        pipe: The rank's end of a duplex pipe.
    """

    def __init__(self, pipe: connection.Connection) -> None:
        self._pipe, self._send_lock = pipe, threading.Lock()

    def send(self, message: object) -> None:
        """Send a message to the starter.

        Args:
            message: Anything that pickles.
        """
        # WHY a lock: the answers of the thread below would fall into the middle of
        # the main thread's report.
        with self._send_lock:
            self._pipe.send(message)

    def answer_requests(self) -> None:
        """Start a thread that answers the starter: where is the main thread?"""

        def serve() -> None:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    self._pipe.recv()
                    self.send(Location(_main_thread_location()))

        threading.Thread(target=serve, name="stack-answers", daemon=True).start()


def request_locations(
    pipes: Sequence[connection.Connection], *, timeout_s: float
) -> tuple[dict[int, Location], list[object]]:
    """Ask ranks where they are.

    Args:
        pipes: The starter's end of each rank's pipe; closed ones are skipped.
        timeout_s: How long to wait for answers.

    Returns:
        Index in `pipes` -> location, of the ranks that answered; and what else ranks
        said meanwhile, such as that they failed.
    """
    asked: dict[connection.Connection, int] = {}
    for index, pipe in enumerate(pipes):
        with contextlib.suppress(OSError, ValueError):
            if not pipe.closed:
                pipe.send("where are you?")
                asked[pipe] = index
    locations: dict[int, Location] = {}
    others: list[object] = []
    for pipe, index in asked.items():
        with contextlib.suppress(EOFError, OSError):
            # WHY ask each so briefly: one that is frozen must not hold up the rest.
            # WHY go on reading: a rank may just have said something else.
            while index not in locations and pipe.poll(timeout_s / len(asked)):
                message = pipe.recv()
                if isinstance(message, Location):
                    locations[index] = message
                else:
                    others.append(message)
    return locations, others


def innermost_line(
    frames: Sequence[traceback.FrameSummary], *, users_only: bool = False
) -> str:
    """Name the innermost line of the user's or our code.

    Args:
        frames: Outermost first.
        users_only: Prefer the line that called this library to the one in it. For a
            rank that waits: which line of the user's program, not of a vote.

    Returns:
        "(file:line in function)".

    Examples:
        >>> innermost_line(traceback.extract_stack())[0]
        '('
    """
    # WHY by folder: a line in a codec of Python's own library explains nothing to the
    # reader. Debian and Kaggle call site-packages dist-packages.
    own_frames = [
        frame
        for frame in frames
        if "site-packages" not in frame.filename
        and "dist-packages" not in frame.filename
        # "<string>" is the line by which multiprocessing starts a process.
        and not frame.filename.startswith((PYTHON_LIBRARY, "<frozen", "<string>"))
    ]
    if users_only:
        own_frames = [
            frame for frame in own_frames if not frame.filename.startswith(THIS_LIBRARY)
        ] or own_frames
    last = (own_frames or frames)[-1]
    return f"({os.path.basename(last.filename)}:{last.lineno} in {last.name})"


def _main_thread_location() -> str:
    """What this process's main thread does: its line, and torch's collective if any."""
    ident = threading.main_thread().ident
    frame = sys._current_frames().get(ident) if ident is not None else None
    if frame is None:
        return "(at its end)"
    frames = traceback.extract_stack(frame)
    torch_calls = [
        called.name
        for called in frames
        if called.filename.endswith("distributed_c10d.py")
    ]
    # The innermost public name: `wrapper` and `_store_based_barrier` say nothing.
    public_names = [
        name for name in torch_calls if not name.startswith("_") and name != "wrapper"
    ]
    location = innermost_line(frames, users_only=True)
    if public_names:
        return f"{location}, waiting in {public_names[-1]}"
    # DDP's all-reduces are called and awaited by autograd, below any Python frame.
    is_in_backward = any(called.name == "_engine_run_backward" for called in frames)
    return location + (", computing or waiting in backward" if is_in_backward else "")
