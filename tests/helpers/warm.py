"""Processes that start with torch imported: ranks and programs in tenths of a second.

A new Python imports torch and transformers for three seconds, and the proofs that start
one to compare numbers, or to read an error, did so a hundred times. Here a server that
has imported them once forks each process (multiprocessing's "forkserver"). It is a
process of its own with its own arguments and environment, so it computes the same.

Not for proofs of a start itself: test_dist.py, test_spawn.py, and all that start a
program by `helpers.running`, do so as users do.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.process
import os
import pathlib
import runpy
import sys
import threading
import types
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from typing import Any

__all__ = ["AVAILABLE", "in_place_of_spawn", "left_in_session", "program"]

# WHY Linux only: macOS' own libraries do not survive a fork, and Windows has none.
# Python's fork server needs the function that `like_windows` takes away.
AVAILABLE = sys.platform == "linux" and hasattr(os, "set_blocking")
IMPORTED = (
    *("torch", "torch.distributed", "torch.nn.parallel", "torch.utils.data"),
    *("transformers.models.distilbert.modeling_distilbert", "distrinews.dist"),
    *("distrinews.sync", "distrinews.checkpoint", "distrinews.training.corpus"),
)


_STARTING = threading.Lock()


def _process(target: Callable[..., None], *args: Any, name: str) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(IMPORTED))
    return context.Process(target=target, args=args, name=name)


def _see(env: dict[str, str]) -> None:
    """Let this process see what a new one would."""
    import torch

    os.environ.clear()
    os.environ.update(env)
    # WHY: OpenMP read the variable when the server imported torch.
    torch.set_num_threads(int(env.get("OMP_NUM_THREADS", torch.get_num_threads())))


# --- Ranks ------------------------------------------------------------------------


def _be_rank(
    env: dict[str, str], target: Callable[..., None], args: tuple[Any, ...]
) -> None:
    _see(env)
    target(*args)


def in_place_of_spawn() -> types.SimpleNamespace:
    """What `distrinews.dist.spawn` needs of multiprocessing, with such processes."""

    def process(
        *, target: Callable[..., None], args: tuple[Any, ...], name: str
    ) -> ForkServerProcess:
        return _process(_be_rank, dict(os.environ), target, args, name=name)

    context = types.SimpleNamespace(Pipe=multiprocessing.Pipe, Process=process)
    return types.SimpleNamespace(
        get_context=lambda _method: context,
        parent_process=multiprocessing.parent_process,
        get_start_method=multiprocessing.get_start_method,
        get_all_start_methods=multiprocessing.get_all_start_methods,
    )


# --- Programs ---------------------------------------------------------------------


def _be_program(
    env: dict[str, str], words: list[str], folder: str, out: str, err: str
) -> None:
    os.setsid()
    os.chdir(folder)
    for file, number in ((out, 1), (err, 2)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
    _see(env)
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")


def program(
    words: Sequence[str],
    *,
    folder: pathlib.Path,
    out: pathlib.Path,
    err: pathlib.Path,
    env: dict[str, str],
) -> ForkServerProcess:
    """Start a script with its arguments; its output goes to two files."""
    files = (str(folder), str(out), str(err))
    process = _process(_be_program, env, list(words), *files, name=words[0])
    # WHY: a start first asks every child whether it has ended, and an exit code can be
    # read only once. Two threads that read it at once gave one of them 255.
    with _STARTING:
        process.start()
        multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]
    return process


def left_in_session(leader: int | None) -> dict[int, list[str]]:
    """Process ids and commands of what a program has started and left behind."""
    left = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(entry.name)) == leader:
                command = (entry / "cmdline").read_text(encoding="utf-8")
                left[int(entry.name)] = command.split("\0")[:-1]
    return left
