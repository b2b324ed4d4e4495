"""Find this process's rank and device; join the process group and leave it.

Inside `with setup()` every rank can reach every other one, and when the block ends,
with or without an error, the group is gone. Only `setup` makes and ends the default
group. `dist.rank0_first` makes another one with its own timeout; `new_group` makes
those for touched rows (`distrinews.sync.sparse_embedding`) and for measuring.

Not here: starting the processes (`distrinews.dist.launch`), communication between them
(`distrinews.dist.collectives`). Import all of it from `distrinews.dist`.

Letters used for shapes: W = number of ranks.
Guide: understand/processes-and-ranks.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import json
import logging
import os
import pathlib
import shutil
import threading
import time
import traceback
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as torch_dist

from distrinews.dist import failures, spawn
from distrinews.errors import RankFailedError, SetupError
from distrinews.system import console, gpus, machine, narrow_path, shell

__all__ = [
    "STORE_VARIABLE",
    "TIMEOUT_S",
    "Ranks",
    "current",
    "launched_world_size",
    "new_group",
    "set_timeout",
    "setup",
    "timeout_of",
]

logger = logging.getLogger(__name__)

# How long a rank waits in one collective before it gives up: longer than any step or
# save of this course, and short enough that you notice a hang within a coffee break.
TIMEOUT_S = 600.0
# How long a failed rank may take to leave its group.
ABORT_TIMEOUT_S = 5.0
# How long the interpreter of such a rank may take to end. It is long, because functions
# registered for the end of the program, such as an upload, run in that time.
EXIT_TIMEOUT_S = 30.0
# How long gloo's threads may take to release their last tensor.
LET_GO_S = 0.1
# How long an orphaned rank tries to delete its store.
REMOVE_WITHIN_S = 2.0
# The environment variable in which `dist.launch` passes its ranks the path of their
# store.
STORE_VARIABLE = "DISTRINEWS_STORE"


@dataclass(frozen=True)
class Ranks:
    """This process's rank and device, and the number of ranks.

    Attributes:
        rank: 0 to world_size - 1, unique over all machines. Choose the data by it.
        local_rank: 0 to (ranks on this machine - 1). Choose the GPU by it.
        world_size: W, the number of ranks. 1 means alone, without a process group.
        device: The device of this rank's replica.

    Examples:
        >>> alone = Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
        >>> alone.is_main
        True
    """

    rank: int
    local_rank: int
    world_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which prints and writes files.

        Never put a collective inside `if ranks.is_main`: rank 0 would wait forever.
        """
        return self.rank == 0


def current() -> Ranks:
    """Return this process's ranks; rank 0 of 1 if there is no process group.

    Returns:
        The ranks in the group that `setup` made, otherwise rank 0 of 1.

    Raises:
        SetupError: The launcher's variables are unusable. On this rank only.

    Examples:
        >>> current().world_size
        1
    """
    if not torch_dist.is_initialized():
        # The environment alone is not enough: in a torchrun worker WORLD_SIZE is set
        # before `setup` has run, and no collective would work yet.
        return Ranks(0, local_rank=0, world_size=1, device=_device(0, 1))
    _, local_rank, _, local_world_size = _ranks_from_environment()
    return Ranks(
        torch_dist.get_rank(),
        local_rank=local_rank,
        world_size=torch_dist.get_world_size(),
        device=_device(local_rank, local_world_size),
    )


def launched_world_size() -> int | None:
    """Return how many ranks a launcher started; None if this process runs alone.

    Why: settings that must fit the number of ranks are checked before the ranks start,
    and under torchrun that number is torchrun's, not `--num-ranks`.

    Returns:
        WORLD_SIZE under torchrun and inside `launch`, else None.

    Raises:
        SetupError: The launcher's variables are unusable. On this rank only.

    Examples:
        >>> launched_world_size() is None
        True
    """
    return _ranks_from_environment()[2] if "RANK" in os.environ else None


@contextlib.contextmanager
def setup(*, timeout_s: float = TIMEOUT_S) -> Generator[Ranks, None, None]:
    """Join the process group for the length of a `with` block.

    Works under torchrun, under `launch`, and alone. Alone there is no group, because
    one rank has no other rank to wait for. Collective: every rank must call it.

    Args:
        timeout_s: How long a collective may wait for the other ranks.

    Yields:
        This process's ranks. Its CUDA device, if any, is already selected.

    Raises:
        SetupError: A group already exists, or the launcher's variables are unusable. On
            this rank only.
        RankFailedError: Under torchrun, this rank lost a peer in a collective, and the
            peer had recorded how it left: it failed, called `sys.exit`, or had no work
            left. On the ranks that lost it.

    Note:
        An error that leaves the block aborts the group, without waiting for the other
        ranks. If that takes longer than 5 s, or the interpreter then takes longer than
        30 s to end, the process ends with exit code 1, after the error was printed.
        Ranks that wait for this one fail when its process has ended (gloo on Linux),
        otherwise at the timeout or when the launcher ends them.
        Cost: one rendezvous; nothing per step. CUDA tensors are sent by nccl if every
        rank of this machine has its own GPU and torch has kernels for it; gloo sends
        everything else. A GPU without kernels is named in a warning.
        Without a GPU the process keeps the memory that it frees, for its next step
        (`distrinews.system.machine.keep_freed_memory`).

    Source: https://docs.pytorch.org/docs/stable/distributed.html, "Initialization".

    Examples:
        >>> with setup() as ranks:
        ...     ranks.is_main, ranks.world_size
        (True, 1)
    """
    if torch_dist.is_initialized():
        raise SetupError(
            "setup() was called while a process group exists.",
            why="two groups in one process mix up their collectives, and ranks hang.",
            fix="call setup() once, around everything, and pass `ranks` on.",
            page="setup",
        )
    rank, local_rank, world_size, local_world_size = _ranks_from_environment()
    device = _device(local_rank, local_world_size)
    if device.type == "cpu" and local_rank == 0:
        _warn_of_unusable_gpus()
    if device.type == "cuda":
        # Before the first collective, because otherwise every rank allocates on GPU 0,
        # and nccl stops with "Duplicate GPU detected".
        torch.cuda.set_device(device)
    if device.type == "cpu":
        machine.keep_freed_memory()
    if STORE_VARIABLE in os.environ:
        # Before the watch starts, because the watch deletes what this rank makes.
        _store_folder().mkdir(mode=0o700, exist_ok=True)
    if "RANK" in os.environ:
        spawn.exit_when_orphaned(_remove_store)
    words = None
    if world_size > 1:
        store = _init_process_group(rank, world_size, device, timeout_s)
        if not spawn.has_starter():  # it would get the report
            words = LastWords(store, rank, world_size)
    try:
        yield Ranks(rank, local_rank=local_rank, world_size=world_size, device=device)
    except BaseException as error:
        cause = words.of_failure(error) if words is not None else None
        has_left = isinstance(error, SystemExit) and error.code in (None, 0)
        if world_size > 1 and not has_left:
            _leave_after_error(cause or error)
        elif world_size > 1:
            _destroy_groups()
        if cause is not None:
            raise cause from None
        raise
    if words is not None:
        words.of_return()
    # Only after success, because destroying a group waits for its pending operations.
    if world_size > 1:
        _destroy_groups()


def _destroy_groups() -> None:
    """End all groups of this process; waits for what is still under way in them."""
    if not spawn.has_starter():
        # WHY: the thread of gloo that finished the last collective still has to let go
        # of its tensor, for which it needs Python's lock. If the interpreter ends
        # first, that thread aborts the process, after a whole training that went well
        # ("terminate called without an active exception"; torch 2.13, one run in six
        # on a busy machine). Asleep, this thread leaves the lock to the other. A rank
        # that `launch` started ends without taking the interpreter apart.
        time.sleep(LET_GO_S)
    torch_dist.destroy_process_group()


class LastWords:
    """Record in the ranks' store how each rank leaves its group.

    Why: torchrun ends all ranks when one fails, and shows the tracebacks of the ranks
    that lost a peer next to the peer's own. A peer that left without an error has none.

    Args:
        store: torchrun's store, which the agent keeps after ranks have ended.
        rank: This one.
        world_size: W.
    """

    def __init__(self, store: Any, rank: int, world_size: int) -> None:
        self.store, self.rank, self.world_size = store, rank, world_size

    def of_return(self) -> None:
        """Record that this rank returned without an error."""
        self._write("it reached the end of its function", is_failure=False)

    def of_failure(self, error: BaseException) -> RankFailedError | None:
        """Record how this rank fails; find the rank that it lost, if it lost one.

        Args:
            error: The error that leaves the block.

        Returns:
            The error to raise instead, with the first one's traceback as a note; None
            if this rank failed by itself. torchrun's summary will show that error.
        """
        cause = None
        if isinstance(error, (Exception, SystemExit)):
            word = spawn.report_of(self.rank, error)
            if isinstance(word, failures.Left):
                self._write(word.how, is_failure=False)
                return None
            if failures.is_consequence(word):
                cause = self._who_left(word)
            else:
                self._write(word.summary, is_failure=True)
        _tell_torchrun(cause or error)
        if cause is not None:
            # Added afterwards, because torchrun's summary would print it too.
            cause.add_note("".join(traceback.format_exception(error)))
        return cause

    def _write(self, how: str, *, is_failure: bool) -> None:
        word = {"how": how, "at_s": time.time(), "is_failure": is_failure}
        with contextlib.suppress(Exception):  # the agent is gone
            self.store.set(f"left/{self.rank}", json.dumps(word))

    def _who_left(self, lost: failures.Report) -> RankFailedError | None:
        """The error that names the rank that left first."""
        words: dict[int, dict[str, Any]] = {}
        with contextlib.suppress(Exception):  # the agent is gone
            for rank in range(self.world_size):
                if self.store.check([f"left/{rank}"]):
                    words[rank] = json.loads(self.store.get(f"left/{rank}"))
        waiting = f"rank {self.rank} waited for it {lost.location}"
        failed = sorted(
            (word["at_s"], rank) for rank, word in words.items() if word["is_failure"]
        )
        if failed:
            rank = failed[0][1]
            cause = RankFailedError(
                f"rank {rank} failed: {words[rank]['how']}. {waiting}.",
                why="a collective ends when every rank has called it.",
                fix=f"read the traceback of rank {rank}; it failed first.",
                page="rank-failed",
            )
        elif words:
            left = {
                rank: failures.Left(word["how"], word["at_s"])
                for rank, word in words.items()
            }
            cause = failures.left_early(left, waiting)
        else:
            return None  # it was killed or never started: torchrun knows the exit code
        cause.__suppress_context__ = True  # the lost peer's traceback is a note
        return cause


def _tell_torchrun(error: BaseException) -> None:
    """Write an error to the file that torchrun's summary reads, as its `@record` does.

    Source: `record` in torch/distributed/elastic/multiprocessing/errors, torch 2.13.
    """
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        with contextlib.suppress(Exception):  # then the summary is shorter
            from torch.distributed.elastic.multiprocessing import errors

            try:
                raise error
            except BaseException as raised:
                errors.get_error_handler().record_exception(raised)


def _leave_after_error(error: BaseException) -> None:
    """Leave the group without waiting for ranks that are waiting for this one.

    Why: other ranks may be inside a collective that this rank will never call, or this
    rank has started one that they will never call. Destroying the group would wait for
    it: with gloo until the timeout (seen with torch 2.13), with nccl until its watchdog
    ends the process by SIGABRT. Until then no traceback would appear, and torchrun
    could not end the job.
    """
    leaving = threading.Thread(target=_abort_groups, name="abort-groups", daemon=True)
    leaving.start()
    leaving.join(ABORT_TIMEOUT_S)
    if leaving.is_alive():
        # An orderly end is impossible now, even of the interpreter.
        if not spawn.is_reported(error):
            traceback.print_exception(error)
        console.exit_now(1)
    # A DDP wrapper in a frame of the traceback still holds the group. Its C++ part is
    # destroyed when the interpreter ends, and waits there for gloo's pending work. By
    # then the error has been printed, so the process may be ended by force.
    atexit.register(_limit_the_end)


def _limit_the_end() -> None:
    """End the process with exit code 1 if the interpreter's end takes too long."""
    # faulthandler, because its timer is a C thread that keeps running while Python
    # ends. The stack that it would also print is useless here.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    faulthandler.dump_traceback_later(EXIT_TIMEOUT_S, exit=True, file=nowhere)


def _abort_groups() -> None:
    """Abort all groups of this process and their pending operations."""
    # A private function, because torch has no public one for all groups (2.13). It
    # aborts nccl's kernels on this rank's GPU. It only releases a gloo group; the
    # connections close, and peers wake up, once nothing else holds the group.
    abort = getattr(torch_dist.distributed_c10d, "_abort_process_group", None)
    with contextlib.suppress(Exception):  # an older torch, or a backend without it
        if abort is not None:
            abort()
    with contextlib.suppress(Exception):  # after a CUDA error this fails too
        if torch_dist.is_initialized():
            torch_dist.destroy_process_group()


def new_group(members: Sequence[int] | None = None) -> torch_dist.ProcessGroup:
    """Make another process group with the timeout of the default group.

    Why not `torch_dist.new_group`: without a `timeout` it takes torch's default for the
    backend (30 minutes for gloo), whatever the default group's timeout is (torch 2.13).
    A missing rank would be noticed after 30 minutes, not after `timeout_s`.

    Collective: every rank of the default group must call it, also those that are not
    members, and all ranks must make their groups in the same order.

    Args:
        members: Ranks of the default group. None means all of them.

    Returns:
        A group with the backends and the timeout of the default group. On a rank that
        is not a member, torch's `GroupMember.NON_GROUP_MEMBER`.

    Raises:
        ValueError: There is no default group. On this rank only.

    Note:
        Cost: gloo connects every two members. On GPUs nccl splits the default group's
        communicator, which is a collective.

    Source: `_new_group_with_tag` in torch/distributed/distributed_c10d.py, torch 2.13.
    """
    ranks = None if members is None else list(members)
    made: torch_dist.ProcessGroup = torch_dist.new_group(ranks, timeout=timeout_of())
    return made


def timeout_of(group: torch_dist.ProcessGroup | None = None) -> timedelta:
    """Return how long a collective of this group may wait for the other ranks.

    Args:
        group: None means the default group.

    Returns:
        The group's own timeout, also after `set_timeout`.

    Raises:
        ValueError: There is no default group. On this rank only.
    """
    # There is no public way to ask a group for its timeout (torch 2.13).
    if group is None:
        group = torch_dist.distributed_c10d._get_default_group()
    of_group: Any = group
    # All backends of a group get the same timeout. Not always the CPU's, because a
    # group that was made for nccl only has no backend for CPU tensors.
    backend = of_group._get_backend(of_group._device_types[0])
    timeout: timedelta = backend.options._timeout
    return timeout


def set_timeout(timeout_s: float) -> None:
    """Change the timeout of the default group's collectives; alone, do nothing.

    Local: call it on every rank, between two collectives.

    Args:
        timeout_s: For collectives that start from now on.

    Examples:
        >>> set_timeout(4.0)  # alone
    """
    if torch_dist.is_initialized():
        # There is no public way to change a group's timeout (torch 2.13).
        set_pg_timeout: Any = torch_dist.distributed_c10d._set_pg_timeout
        set_pg_timeout(timedelta(seconds=timeout_s))


def _init_process_group(
    rank: int, world_size: int, device: torch.device, timeout_s: float
) -> Any:
    """Make the process group once all ranks have arrived; return their store."""
    on_gpu = device.type == "cuda"
    timeout = timedelta(seconds=timeout_s)
    store = _rendezvous_store(rank, world_size, timeout)
    torch_dist.init_process_group(
        # Both at once: nccl sends CUDA gradients, and gloo sends counts and votes on
        # the CPU, so that asking "did any rank fail?" never waits for a GPU.
        backend="cpu:gloo,cuda:nccl" if on_gpu else "gloo",
        store=store,
        rank=rank,
        world_size=world_size,
        timeout=timeout,
        device_id=device if on_gpu else None,
    )
    spawn.report_began("nccl" if on_gpu else "gloo", timeout_s=timeout_s)
    return store


def _rendezvous_store(rank: int, world_size: int, timeout: timedelta) -> Any:
    """A store in which ranks exchange their addresses, fresh for each group."""
    # mypy: torch exports its stores at run time only.
    store_file = os.environ.get(STORE_VARIABLE)
    if store_file:
        # A file instead of a port: a port chosen now may be taken a moment later, and
        # TCP stores on Windows need a libuv that the official wheels do not have.
        # mypy: torch's stub lacks bytes; its C++ accepts both.
        path: Any = narrow_path.encode(store_file)
        store = torch_dist.FileStore(path, world_size)  # type: ignore[attr-defined]
        store.set_timeout(timeout)  # the default is 300 s
    else:  # torchrun's own, from its environment variables
        rendezvous = torch_dist.rendezvous(  # type: ignore[attr-defined]
            "env://", rank, world_size, timeout=timeout
        )
        store = next(rendezvous)[0]
    # A separate prefix per group, because torchrun's store outlives a group. In a
    # second `setup` ranks would find each other's old addresses there: connection
    # refused, or a hang (seen with torch 2.13). All W ranks have counted themselves
    # before any of them can leave the group, so the count tells which group this is.
    group_number = (store.add("distrinews/ranks", 1) - 1) // world_size
    return torch_dist.PrefixStore(  # type: ignore[attr-defined]
        f"distrinews/{group_number}", store
    )


def _store_folder() -> pathlib.Path:
    return pathlib.Path(os.environ[STORE_VARIABLE]).parent


def _remove_store() -> None:
    """Delete the store that a killed launcher can no longer delete."""
    if STORE_VARIABLE not in os.environ:
        return
    folder = _store_folder()
    deadline_s = time.monotonic() + REMOVE_WITHIN_S
    # A loop, because a rank that is still joining may write the store again after it
    # was deleted and before the folder is. Once the folder is gone, no rank can.
    while folder.exists() and time.monotonic() < deadline_s:
        shutil.rmtree(folder, ignore_errors=True)


def _device(local_rank: int, local_world_size: int) -> torch.device:
    """One GPU for each rank of this machine, otherwise the CPU for all."""
    # All or nothing: with one replica on a GPU and one on the CPU, one gradient would
    # need two backends. Only usable ones: a GPU that torch sees but was not built for
    # fails in its first computation, after the ranks have joined.
    usable = gpus.usable()
    has_gpu_per_rank = len(usable) >= local_world_size
    if has_gpu_per_rank and (local_world_size == 1 or torch_dist.is_nccl_available()):
        return torch.device("cuda", usable[local_rank])
    return torch.device("cpu")


def _warn_of_unusable_gpus() -> None:
    """Warn that torch has no kernels for a GPU and that the ranks skip it."""
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for reason in filter(None, map(gpus.why_unusable, range(num_gpus))):
        logger.warning(
            "%s. The ranks of this machine leave it out; without enough other GPUs "
            "all of them compute on the CPU, with gloo. "
            "More: troubleshooting/#no-kernel-image",
            reason,
        )


def _ranks_from_environment() -> tuple[int, int, int, int]:
    """(rank, local_rank, world_size, local_world_size) from the environment."""
    if "RANK" not in os.environ:
        return 0, 0, 1, 1
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    values = {name: os.environ.get(name) for name in names}
    try:
        rank, local_rank, world_size = (int(values[name] or "") for name in names[:3])
        local_world_size = int(values["LOCAL_WORLD_SIZE"] or world_size)
        if not 0 <= local_rank <= rank < world_size or local_world_size < 1:
            raise ValueError
    except ValueError:
        raise SetupError(
            f"the launcher's variables do not fit together: {values}.",
            why="a rank that miscounts the others waits for one that does not exist.",
            fix=f"{shell.unset_variables(*names[:3])}, or start with torchrun, which "
            "sets them all.",
            page="setup",
        ) from None
    return rank, local_rank, world_size, local_world_size
