"""A tensor that all ranks of one machine see, and that leaves nothing behind.

Promise: the room is really there before the first rank writes; what cannot be shared is
refused on every rank; and however the ranks end, no file stays.

Not here: what is written into it, and when (`distrinews.sync.shared_memory`).

Letters used for shapes: W = number of ranks.
Guide: understand/faster-than-ddp.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import sys
import tempfile

import torch

from distrinews import dist
from distrinews.dist import group
from distrinews.errors import SetupError

__all__ = ["share"]


def share(num_elements: int, dtype: torch.dtype) -> torch.Tensor:
    """Make one tensor [W, num_elements] that every rank sees.

    Collective: every rank must call it.

    Args:
        num_elements: Of each rank's row.
        dtype: Of an element.

    Returns:
        The same memory on every rank, zeros at first.

    Raises:
        SetupError: The ranks are not on one machine, or it has no room. On every rank.

    Note:
        On Linux the memory is a file in /dev/shm, or, where that is too small (in
        containers it often is), in the temporary folder. It loses its name before this
        function returns: however the ranks end, nothing is left.
    """
    ranks = dist.current()
    size = ranks.world_size * num_elements
    problem, path = None, ""
    if ranks.is_main:
        try:
            path = _reserve(max(1, size) * dtype.itemsize)
        except OSError as error:
            problem = SetupError(
                f"no shared memory of {size * dtype.itemsize:,} bytes ({error}).",
                why="the ranks would exchange their gradients in it.",
                fix="free disk space, or use DistributedDataParallel, which sends.",
                page="shared-memory",
            )
    dist.vote_then_raise(problem)
    path = dist.broadcast_object(path)
    try:
        mapped = torch.from_file(path, shared=True, size=max(1, size), dtype=dtype)
    except (OSError, RuntimeError) as error:
        problem = SetupError(
            f"rank {ranks.rank} cannot see rank 0's memory ({error}).",
            why="ranks share memory only if they run on one machine.",
            fix="use DistributedDataParallel, which sends.",
            page="shared-memory",
        )
    try:
        dist.vote_then_raise(problem)
    finally:
        if ranks.is_main:
            # Windows removes no open file; there it goes with the launcher's folder.
            with contextlib.suppress(OSError):
                os.unlink(path)
    return mapped[:size].view(ranks.world_size, num_elements)


def _reserve(num_bytes: int) -> str:
    """Make a file of that size whose room is really there."""
    store = os.environ.get(group.STORE_VARIABLE)
    places = [pathlib.Path(store).parent] if store and sys.platform == "win32" else []
    places += [pathlib.Path("/dev/shm"), pathlib.Path(tempfile.gettempdir())]
    problem = OSError("no folder for it")
    for place in places:
        try:
            number, path = tempfile.mkstemp(prefix="distrinews-memory-", dir=place)
        except OSError as error:
            problem = error
            continue
        try:
            if hasattr(os, "posix_fallocate"):
                # WHY: a file may claim a size that the disk does not have, and the
                # process would die by SIGBUS when it writes there.
                os.posix_fallocate(number, 0, num_bytes)
            else:
                os.truncate(number, num_bytes)
        except OSError as error:
            problem = error
            os.unlink(path)
            continue
        finally:
            os.close(number)
        return path
    raise problem
