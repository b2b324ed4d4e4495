"""Ask a rank which line it is executing, even if its main thread is stuck.

A rank that waits, loops or sleeps forever still answers, because a separate thread
does; only a frozen process does not.

`distrinews.dist.spawn` asks, and `distrinews.dist.failures` reports the answers.

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
    """The line that a rank's main thread executes, in words."""


class ParentConnection:
    """A rank's end of the pipe to the launcher; two threads may send on it.

    Args:
        pipe: The rank's end of a duplex pipe.
    """

    def __init__(self, pipe: connection.Connection) -> None:
        self._pipe, self._send_lock = pipe, threading.Lock()

    def send(self, message: object) -> None:
        """Send a message to the launcher.

        Args:
            message: Anything that pickles.
        """
        # Without the lock an answer of the thread below could be written into the
        # middle of the main thread's report.
        with self._send_lock:
            self._pipe.send(message)

    def answer_requests(self) -> None:
        """Start a thread that tells the launcher where the main thread is."""

        def serve() -> None:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    self._pipe.recv()
                    self.send(Location(_main_thread_location()))

        threading.Thread(target=serve, name="stack-answers", daemon=True).start()


def request_locations(
    pipes: Sequence[connection.Connection], *, timeout_s: float
) -> tuple[dict[int, Location], list[object]]:
    """Ask ranks which line they are executing.

    Args:
        pipes: The launcher's end of each rank's pipe; closed ones are skipped.
        timeout_s: How long to wait for answers.

    Returns:
        Index in `pipes` -> location, of the ranks that answered; and the other messages
        that arrived meanwhile, such as a failure.
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
            # Wait only briefly for each rank: a frozen one must not delay the rest.
            # Read on, because a rank may have sent another message first.
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
    """Name the innermost line of the user's or this library's code.

    Args:
        frames: Outermost first.
        users_only: Prefer the line that called this library to the line inside it. For
            a waiting rank that is the line of the user's program, not of a vote.

    Returns:
        "(file:line in function)".

    Examples:
        >>> innermost_line(traceback.extract_stack())[0]
        '('
    """
    # By folder, because a line inside Python's own library explains nothing to the
    # reader. Debian and Kaggle call site-packages dist-packages.
    own_frames = [
        frame
        for frame in frames
        if "site-packages" not in frame.filename
        and "dist-packages" not in frame.filename
        # "<string>" is the line with which multiprocessing starts a process.
        and not frame.filename.startswith((PYTHON_LIBRARY, "<frozen", "<string>"))
    ]
    if users_only:
        own_frames = [
            frame for frame in own_frames if not frame.filename.startswith(THIS_LIBRARY)
        ] or own_frames
    last = (own_frames or frames)[-1]
    return f"({os.path.basename(last.filename)}:{last.lineno} in {last.name})"


def _main_thread_location() -> str:
    """The main thread's current line, and torch's collective if it is in one."""
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
    # The innermost public name; `wrapper` and `_store_based_barrier` say nothing.
    public_names = [
        name for name in torch_calls if not name.startswith("_") and name != "wrapper"
    ]
    location = innermost_line(frames, users_only=True)
    if public_names:
        return f"{location}, waiting in {public_names[-1]}"
    # Autograd starts DDP's all-reduces and waits for them, below any Python frame.
    is_in_backward = any(called.name == "_engine_run_backward" for called in frames)
    return location + (", computing or waiting in backward" if is_in_backward else "")
