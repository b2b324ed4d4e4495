"""Average gradients through memory that all ranks of one machine share.

Without GPUs torch's DDP sends gradients with gloo, through sockets: the kernel copies
every byte into a buffer and out of it, on the very cores that compute the gradients.
But ranks of one machine can see the same memory. Each writes its gradients where all
can read them; then each adds up its part for all.

    write own gradients | meet | add up own part, write it for all | meet | step

Promise: bit for bit the gradients of torch's DDP with two ranks, the same to rounding
with more, in less time. The price: one machine, no GPU.

The memory is reserved before the first rank writes. What cannot be shared is refused on
every rank, and however the ranks end, no file stays.

Not here: GPUs, where `torch.distributed` does this by itself (nccl, over NVLink or
PCIe).

Letters used for shapes: W = number of ranks, n = elements of all gradients together.
Guide: understand/faster-than-ddp.
"""

from __future__ import annotations

import contextlib
import math
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist
from distrinews.dist import process_group
from distrinews.errors import SetupError
from distrinews.sync import sparse_embedding
from distrinews.sync.wrappers import HookedModule

__all__ = ["SharedMemoryDDP"]


# Elements that are summed at once: small enough for a core's second-level cache, so
# that the sum is still there when it is copied to the other ranks.
ELEMENTS_AT_ONCE = 64 * 1024


class SharedMemoryDDP(HookedModule):
    """Wrap a model so that `backward()` leaves averaged gradients on every rank.

    Used like torch's `DistributedDataParallel`. Alone it only passes calls through.

    Collective: every rank must build it, with the same architecture, and every rank
    must call `backward()` equally often.

    Args:
        module: The replica, on the CPU. Rank 0's parameters and buffers are copied to
            all.
        min_rows: Of embeddings with at least so many rows only those that a batch
            touched are averaged (`distrinews.sync.sparse_embedding`).

    Attributes:
        module: The bare model. Save and evaluate that one.

    Raises:
        SetupError: The model is not on the CPU, its trainable parameters have more than
            one dtype, or the ranks share no memory. On every rank.
        MissingGradientError: From `backward()`, on every rank: some rank's loss did not
            use a trainable parameter. Names the rank and its parameters.

    Note:
        Cost: shared memory of W times the gradients, which live in it; two small
        meetings a `backward()`; each rank reads the gradients once and writes them
        once.

    Examples:
        >>> replica = SharedMemoryDDP(nn.Linear(2, 1))
        >>> replica(torch.ones(4, 2)).sum().backward()
        >>> replica.module.bias.grad
        tensor([4.])
    """

    def __init__(
        self, module: nn.Module, *, min_rows: int = sparse_embedding.MIN_ROWS
    ) -> None:
        super().__init__(module)
        self._ranks = dist.current()
        if self._ranks.world_size == 1:
            return
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
        devices = {p.device.type for _, p in named} | {self._ranks.device.type}
        if devices != {"cpu"}:
            raise SetupError(
                f"the model is on {sorted(devices)}.",
                why="only the CPU's memory is shared here.",
                fix="use DistributedDataParallel; nccl shares memory between GPUs.",
                page="shared-memory",
            )
        tables = sparse_embedding.large_embeddings(module, min_rows=min_rows)
        dense = [(name, param) for name, param in named if name not in tables]
        # WHY no vote: the ranks hold the same architecture, so all of them raise, and
        # none is in a collective yet.
        self._dtype = _only_dtype(dense)
        self._copy_from_rank_0()
        self._tables = [_SharedTable(table, self._ranks) for table in tables.values()]
        self._missing: set[str] = set()
        self._views: dict[str, torch.Tensor] = {}
        self._names = {name for name, _ in named}
        self._share_dense_gradients(dense)
        self._register_hooks()

    def _share_dense_gradients(self, named: list[tuple[str, nn.Parameter]]) -> None:
        """Give every gradient a view into this rank's row of the shared memory."""
        sizes = [param.numel() for _, param in named]
        self._shared = _shared_tensor(sum(sizes), self._dtype)
        for (name, param), part in zip(
            named, self._shared[self._ranks.rank].split(sizes), strict=True
        ):
            self._views[name] = part.view_as(param)

    def _begin_backward(self) -> None:
        self._missing = set(self._names)

    def _take_gradient(self, name: str, param: nn.Parameter) -> None:
        self._missing.discard(name)
        view = self._views.get(name)
        if view is not None and param.grad is not None:
            # WHY divide before the sum: as DDP does; see `distrinews.sync.overlap`.
            torch.mul(param.grad, 1 / self._ranks.world_size, out=view)
            param.grad = view

    def _finish_backward(self) -> None:
        """Backward is over: synchronise, sum, synchronise."""
        for table in self._tables:
            table.write_rows()
        # The vote is the first meeting: nobody reads before all have written.
        num_missing = torch.tensor([len(self._missing)])
        torch_dist.all_reduce(num_missing)
        if num_missing.item():
            self._raise_unused(self._missing)
        self._sum_own_chunk()
        for table in self._tables:
            table.sum_rows()
        # The second: nobody uses or overwrites gradients before all have added up.
        torch_dist.barrier()

    def _sum_own_chunk(self) -> None:
        """Sum this rank's part of the elements and write it into every rank's row."""
        world_size, num_elements = self._shared.shape
        chunk_size = math.ceil(num_elements / world_size)
        start = self._ranks.rank * chunk_size
        own_row, *other_rows = self._shared[:, start : start + chunk_size]
        for begin in range(0, own_row.numel(), ELEMENTS_AT_ONCE):
            sums = own_row[begin : begin + ELEMENTS_AT_ONCE]
            other_parts = [row[begin : begin + ELEMENTS_AT_ONCE] for row in other_rows]
            for part in other_parts:
                sums.add_(part)
            for part in other_parts:
                part.copy_(sums)


def _only_dtype(named: Sequence[tuple[str, nn.Parameter]]) -> torch.dtype:
    """The dtype of all these parameters, because their gradients share one tensor."""
    first_by_dtype: dict[torch.dtype, str] = {}
    for name, param in named:
        first_by_dtype.setdefault(param.dtype, name)
    if len(first_by_dtype) > 1:
        found = ", ".join(f"{dtype} ({name})" for dtype, name in first_by_dtype.items())
        raise SetupError(
            f"the trainable parameters have {len(first_by_dtype)} dtypes: {found}.",
            why="all gradients lie in one shared tensor, and a tensor has one dtype; a "
            "gradient of another dtype would be rounded or refused in backward().",
            fix="convert the model to one dtype first, as in model.float(), or use "
            "DistributedDataParallel, which has buckets for each dtype.",
            page="shared-memory",
        )
    return next(iter(first_by_dtype), torch.float32)


class _SharedTable:
    """An embedding's touched rows of every rank, in memory that all can read."""

    def __init__(self, table: nn.Embedding, ranks: dist.Ranks) -> None:
        self._row_gradient = sparse_embedding.RowGradient(table)
        self._ranks = ranks
        num_rows, width = table.weight.shape
        # Of each rank: how many rows it touched, then their numbers.
        self._rows = _shared_tensor(1 + num_rows, torch.int64)
        self._values = _shared_tensor(num_rows * width, table.weight.dtype)
        self._width = width

    def write_rows(self) -> None:
        """Write the rows that this rank's batch touched."""
        rows, values = self._row_gradient.local_rows(world_size=self._ranks.world_size)
        own_rank, count = self._ranks.rank, len(rows)
        self._rows[own_rank, 0] = count
        self._rows[own_rank, 1 : 1 + count] = rows
        self._values[own_rank, : values.numel()] = values.flatten()

    def sum_rows(self) -> None:
        """Sum the rows of all ranks, in the order of the ranks."""
        parts = []
        for rank in range(self._ranks.world_size):
            count = int(self._rows[rank, 0])
            values = self._values[rank, : count * self._width].view(count, self._width)
            parts.append((self._rows[rank, 1 : 1 + count], values))
        self._row_gradient.fill(parts)


def _shared_tensor(num_elements: int, dtype: torch.dtype) -> torch.Tensor:
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
            path = _create_file(max(1, size) * dtype.itemsize)
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


def _create_file(num_bytes: int) -> str:
    """Make a file of that size whose room is really there."""
    store = os.environ.get(process_group.STORE_VARIABLE)
    folders = [pathlib.Path(store).parent] if store and sys.platform == "win32" else []
    folders += [pathlib.Path("/dev/shm"), pathlib.Path(tempfile.gettempdir())]
    problem = OSError("no folder for it")
    for folder in folders:
        try:
            descriptor, path = tempfile.mkstemp(prefix="distrinews-memory-", dir=folder)
        except OSError as error:
            problem = error
            continue
        try:
            if hasattr(os, "posix_fallocate"):
                # WHY: a file may claim a size that the disk does not have, and the
                # process would die by SIGBUS when it writes there.
                os.posix_fallocate(descriptor, 0, num_bytes)
            else:
                os.truncate(descriptor, num_bytes)
        except OSError as error:
            problem = error
        else:
            return path
        finally:
            os.close(descriptor)
        os.unlink(path)  # only now: Windows removes no open file
    raise problem
