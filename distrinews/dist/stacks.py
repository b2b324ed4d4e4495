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

__all__ = ["Answer", "Wire", "ask", "innermost"]

# The folder of Python's own modules.
PYTHON_LIBRARY = os.path.dirname(os.__file__)
THIS_LIBRARY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Answer(str):
    """Where a rank's main thread is, in words."""


class Wire:
    """A rank's end of the pipe to its starter; two threads may speak on it.

    Args:
        pipe: The rank's end of a duplex pipe.
    """

    def __init__(self, pipe: connection.Connection) -> None:
        self._pipe, self._one_speaks = pipe, threading.Lock()

    def send(self, message: object) -> None:
        """Tell the starter something.

        Args:
            message: Anything that pickles.
        """
        # WHY a lock: the answers of the thread below would fall into the middle of
        # the main thread's report.
        with self._one_speaks:
            self._pipe.send(message)

    def answer_questions(self) -> None:
        """From now on tell the starter where the main thread is, whenever it asks."""

        def serve() -> None:
            with contextlib.suppress(EOFError, OSError):
                while True:
                    self._pipe.recv()
                    self.send(Answer(_main_thread()))

        threading.Thread(target=serve, name="whereabouts", daemon=True).start()


def ask(
    pipes: Sequence[connection.Connection], *, timeout_s: float
) -> dict[int, Answer]:
    """Ask ranks where they are.

    Args:
        pipes: The starter's end of each rank's pipe; closed ones are skipped.
        timeout_s: How long to wait for answers.

    Returns:
        Place in `pipes` -> answer, of those that answered.
    """
    asked: dict[connection.Connection, int] = {}
    for place, pipe in enumerate(pipes):
        with contextlib.suppress(OSError, ValueError):
            if not pipe.closed:
                pipe.send("where are you?")
                asked[pipe] = place
    answers: dict[int, Answer] = {}
    for pipe, place in asked.items():
        with contextlib.suppress(EOFError, OSError):
            # WHY ask each so briefly: one that is frozen must not hold up the rest.
            if pipe.poll(timeout_s / len(asked)):
                told = pipe.recv()
                if isinstance(told, Answer):
                    answers[place] = told
    return answers


def innermost(
    frames: Sequence[traceback.FrameSummary], *, users_only: bool = False
) -> str:
    """Name the innermost line of the user's or our code.

    Args:
        frames: Outermost first.
        users_only: Prefer the line that called this library to the one in it. For a
            rank that waits: where in the story, not how a vote is counted.

    Returns:
        "(file:line in function)".

    Examples:
        >>> innermost(traceback.extract_stack())[0]
        '('
    """
    # WHY by folder: a line in a codec of Python's own library explains nothing to the
    # reader. Debian and Kaggle call site-packages dist-packages.
    own = [
        f
        for f in frames
        if "site-packages" not in f.filename
        and "dist-packages" not in f.filename
        # "<string>" is the line by which multiprocessing starts a process.
        and not f.filename.startswith((PYTHON_LIBRARY, "<frozen", "<string>"))
    ]
    if users_only:
        own = [f for f in own if not f.filename.startswith(THIS_LIBRARY)] or own
    last = (own or frames)[-1]
    return f"({os.path.basename(last.filename)}:{last.lineno} in {last.name})"


def _main_thread() -> str:
    """What this process's main thread does: its line, and torch's collective if any."""
    ident = threading.main_thread().ident
    frame = sys._current_frames().get(ident) if ident is not None else None
    if frame is None:
        return "(at its end)"
    frames = traceback.extract_stack(frame)
    waits_in = [f.name for f in frames if f.filename.endswith("distributed_c10d.py")]
    # The innermost public name: `wrapper` and `_store_based_barrier` say nothing.
    named = [n for n in waits_in if not n.startswith("_") and n != "wrapper"]
    place = innermost(frames, users_only=True)
    return place + (f", waiting in {named[-1]}" if named else "")
