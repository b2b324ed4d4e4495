"""Start the ranks of a program, and let rank 0 run first where a file is written.

Not here: joining the process group (`distrinews.dist.process_group`), the processes
themselves (`distrinews.dist.spawn`).

Letters used for shapes: W = number of ranks.
Guide: understand/launchers.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable, Generator
from datetime import timedelta
from typing import Any

import torch.distributed as torch_dist

from distrinews.dist import spawn
from distrinews.dist.collectives import vote_then_raise
from distrinews.dist.process_group import STORE_VARIABLE, TIMEOUT_S, setup
from distrinews.errors import DistriNewsError, SetupError
from distrinews.system import machine, narrow_path

__all__ = ["launch", "rank0_first"]

# How long the others wait for rank 0's block, which may include a download.
RANK0_FIRST_TIMEOUT_S = 3600.0


def launch(
    fn: Callable[..., None], *args: Any, num_ranks: int, timeout_s: float = TIMEOUT_S
) -> None:
    """Run `fn(ranks, *args)` on every rank and return when all have ended.

    Why: torchrun does not work with PyTorch's official Windows wheels, and a chapter
    should be one command on every system. Under torchrun (RANK is set) nothing is
    started: this process is already a rank, and `fn` runs in it.

    Args:
        fn: What one rank does. With `num_ranks > 1` it must be defined at module level:
            each new process finds it by importing its file.
        *args: Passed on to `fn`; each must pickle.
        num_ranks: W. 1 runs `fn` in this process. Ignored under torchrun.
        timeout_s: How long a collective may wait for the other ranks.

    Raises:
        SetupError: `num_ranks` is below 1; a new process could not import `fn` (a
            lambda, a nested function, a notebook cell); an argument does not pickle; or
            there is no folder for the store.
        DistriNewsError: A rank raised one. It is raised once, here.
        RankFailedError: A rank failed in another way; the error says which one, where
            and how.
        KeyboardInterrupt: Ctrl-C; every rank has ended.

    Note:
        DataLoader workers start as under torchrun: on Linux by fork, on Windows and
        macOS by spawn. With Python 3.14 on Linux they also start by spawn, while
        torchrun's ranks use a fork server. `multiprocessing.set_start_method` in your
        program, below `if __name__ == "__main__":`, also applies to the ranks. When a
        rank is ended by force, its workers notice within 5 s (torch's own watchdog).
        Each rank gets an equal part of this machine's cores as OpenMP threads, unless
        OMP_NUM_THREADS is set: two ranks with all cores each would compete for them.

    Examples:
        >>> launch(lambda ranks: print(ranks.rank, ranks.world_size), num_ranks=1)
        0 1
    """
    if num_ranks < 1:
        raise SetupError(
            f"num_ranks is {num_ranks}.",
            why="at least one rank must train.",
            fix="num_ranks=1 for one process, num_ranks=2 for two (a chapter: "
            "--num-ranks 2).",
            page="settings",
        )
    if num_ranks == 1 or "RANK" in os.environ:
        with setup(timeout_s=timeout_s) as ranks:
            fn(ranks, *args)
        return
    # A fresh folder per run, because a store file of an earlier run still holds its
    # keys: the new ranks would connect to the old ranks' addresses and hang. WHY the
    # ranks make it, not this process: if this process were killed before the first rank
    # runs, no process would delete the folder.
    folder = narrow_path.new_folder_name("distrinews-")
    try:
        spawn.run_ranks(
            _run_rank,
            fn,
            args,
            timeout_s,
            num_ranks=num_ranks,
            env=_rank_environment(num_ranks, folder / "store"),
        )
    except DistriNewsError as error:
        # WHY: the frames between here and where this process heard of it say nothing.
        # The traceback of the rank that failed is a note of the error.
        error.__traceback__ = None
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def rank0_first(
    *, timeout_s: float = RANK0_FIRST_TIMEOUT_S
) -> Generator[None, None, None]:
    """Run the block on rank 0 alone, then on all other ranks.

    Why: downloads and caches. If all ranks did them at once, N processes would write
    the same file; if rank 0 goes first, the others find it complete. Collective: every
    rank must call it. Call no collective inside.

    Args:
        timeout_s: How long the others wait for rank 0. This is separate from the
            timeout of `setup`, because a download may take longer than a training step.

    Yields:
        None.

    Raises:
        DistriNewsError: Rank 0 failed. On every rank, before the others run the block.

    Note:
        Cost: one small group and one all-reduce of 8 bytes.

    Examples:
        >>> with rank0_first():
        ...     cache = "written once, then read by everyone"
    """
    if not torch_dist.is_initialized():
        yield
        return
    group = torch_dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_s))
    try:
        problem: Exception | None = None
        if torch_dist.get_rank() == 0:
            try:
                yield
            except Exception as error:  # any error: the others wait for our vote
                problem = error
        vote_then_raise(problem, group=group)
        if torch_dist.get_rank() != 0:
            yield
    finally:
        torch_dist.destroy_process_group(group)


def _run_rank(
    rank: int,
    fn: Callable[..., None],
    args: tuple[Any, ...],
    timeout_s: float,
) -> None:
    """Worker entry point: join the group, then call `fn`."""
    os.environ["RANK"] = os.environ["LOCAL_RANK"] = str(rank)
    with setup(timeout_s=timeout_s) as ranks, spawn.report_failure(fn):
        fn(ranks, *args)


def _rank_environment(num_ranks: int, store: pathlib.Path) -> dict[str, str]:
    """Environment variables for spawned ranks, under torchrun's names."""
    threads = max(1, machine.num_cores() // num_ranks)
    env = {
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_WORLD_SIZE": str(num_ranks),
        STORE_VARIABLE: str(store),
        machine.PROGRAM_START_VARIABLE: repr(machine.program_start_s()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    encoding = os.environ.get("PYTHONIOENCODING", "")
    if ":" not in encoding:
        # A redirected Windows console (code page 1252) cannot encode most alphabets, so
        # a rank that prints a headline would fail during the run; see `console`.
        env["PYTHONIOENCODING"] = f"{encoding}:backslashreplace"
    loopback = machine.loopback_interface()
    if loopback is not None:
        env["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", loopback)
    return env
