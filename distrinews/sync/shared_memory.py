"""Average gradients through memory that all ranks of one machine share.

Without GPUs torch's DDP sends gradients with gloo, through sockets: the kernel copies
every byte into a buffer and out of it, on the same cores that compute the gradients.
But ranks of one machine can share memory. Each rank writes its gradients where all can
read them; then each rank adds up one part for all.

    write own gradients | barrier | add up own part, write it for all | barrier | step

With two ranks the gradients are those of torch's DDP bit for bit, with more ranks up to
rounding, in less time. It only works on one machine, without GPUs.

The memory is reserved before the first rank writes. If memory cannot be shared, every
rank raises. However the ranks end, no file is left; on Windows one is left if the
launcher is killed.

Not here: GPUs, where nccl does this itself, over NVLink or PCIe.

Letters used for shapes: W = number of ranks, n = elements of all gradients together.
Guide: understand/faster-than-ddp.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as torch_dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews import dist
from distrinews.dist import process_group
from distrinews.errors import MissingGradientError, SetupError
from distrinews.sync import sparse_embedding
from distrinews.sync.wrappers import wrap_ddp

if TYPE_CHECKING:
    # From there, because torch.distributed exports it without a type.
    from torch._C._distributed_c10d import GradBucket

__all__ = ["ddp_in_shared_memory"]

# Elements that are summed at once: few enough for a core's second-level cache, so that
# the sum is still cached when it is copied to the other ranks.
ELEMENTS_AT_ONCE = 64 * 1024


def ddp_in_shared_memory(
    net: nn.Module,
    *,
    min_rows: int = sparse_embedding.MIN_ROWS,
    bucket_cap_mb: float = 25.0,
) -> nn.Module:
    """Wrap a model with torch's DDP, and average its gradients in shared memory.

    It uses two parts of DDP's interface. A communication hook (`register_comm_hook`)
    gets each full bucket instead of the all-reduce and returns a future of its mean.
    And DDP ignores large embeddings, because a hook would see their gradient only after
    all rows were written, although a batch touches few of them.

    On GPUs the wrapper is plain DDP, and rank 0 warns about that: there nccl shares
    memory itself.

    Collective: every rank must call it, with the same architecture.

    Args:
        net: The replica, on its device. Rank 0's parameters and buffers are copied to
            all.
        min_rows: In embeddings with at least this many rows, only the rows that a batch
            touched are averaged (`distrinews.sync.sparse_embedding`).
        bucket_cap_mb: As for DDP [MiB].

    Returns:
        The `DistributedDataParallel`; `no_sync` works as usual. Alone, the bare model,
        which has no other replica.

    Raises:
        SetupError: The ranks cannot share memory; on every rank. Or, from `backward()`,
            an embedding is used for more than looking up rows; on the ranks where that
            happened.
        MissingGradientError: From `backward()`, on every rank: some rank's loss did not
            use a trainable parameter. Names the rank and its parameters.

    Note:
        Cost: shared memory of W times the gradients; two small synchronisations per
        `backward()`; each rank writes its gradients there, adds up its part, and reads
        the sums.

    Examples:
        >>> ddp_in_shared_memory(nn.Linear(2, 1))  # alone
        Linear(in_features=2, out_features=1, bias=True)
    """
    ranks = dist.current()
    on_cpu = ranks.device.type == "cpu"
    if not on_cpu and ranks.is_main:
        logging.getLogger(__name__).warning(
            "gradients are averaged by plain DDP: on GPUs nccl itself shares memory."
        )
    shares = on_cpu and ranks.world_size > 1
    tables = sparse_embedding.large_embeddings(net, min_rows=min_rows) if shares else {}
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(net, tables)
    replica = wrap_ddp(net, ranks, bucket_cap_mb=bucket_cap_mb)
    if isinstance(replica, DistributedDataParallel) and shares:
        for table in tables.values():
            torch_dist.broadcast(table.weight.detach(), src=0)
        shared = _SharedGradients(replica, tables, ranks)
        # A lambda, because DDP reads a hook's annotations, and ours are strings.
        replica.register_comm_hook(None, lambda _, bucket: shared.average(bucket))
    return replica


class _SharedGradients:
    """The gradients that all ranks wrote in one `backward()`, and their averaging."""

    def __init__(
        self,
        replica: DistributedDataParallel,
        tables: Mapping[str, nn.Embedding],
        ranks: dist.Ranks,
    ) -> None:
        self._replica, self._ranks = replica, ranks
        net = replica.module
        named = {n: p for n, p in net.named_parameters() if p.requires_grad}
        self._names = set(named)
        num_bytes = sum(
            _aligned(param.nbytes)
            for name, param in named.items()
            if name not in tables
        )
        self._bytes = _shared_tensor(num_bytes, torch.uint8)  # [W, bytes]
        self._tables = [_SharedTable(table, ranks) for table in tables.values()]
        self._syncs = self._in_backward = False
        self._missing: set[str] = set()
        self._buckets: list[
            tuple[torch.Tensor, torch.Tensor, torch.futures.Future[torch.Tensor]]
        ] = []
        self._num_bytes = 0
        net.register_forward_pre_hook(self._before_forward)
        for name, param in named.items():
            param.register_post_accumulate_grad_hook(
                functools.partial(self._on_gradient, name)
            )

    def _before_forward(self, *_: Any) -> None:
        # As in DDP, the forward decides whether its backward communicates.
        if torch.is_grad_enabled():
            self._syncs = self._replica.require_backward_grad_sync

    def _on_gradient(self, name: str, _: torch.Tensor) -> None:
        if not self._syncs:
            return
        if not self._in_backward:
            self._in_backward, self._missing = True, set(self._names)
            # Now, because callbacks run in the order in which they were queued. DDP
            # queues its own with the last bucket, and that callback waits for the
            # futures.
            engine = torch.autograd.Variable._execution_engine
            engine.queue_callback(self._finish_backward)
        self._missing.discard(name)

    def average(self, bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
        """Write a bucket where all ranks can read it; return a future of its mean."""
        gradients = bucket.buffer()
        end = self._num_bytes + gradients.nbytes
        rows = self._bytes[:, self._num_bytes : end].view(gradients.dtype)
        self._num_bytes += _aligned(gradients.nbytes)
        # Divide before the sum, as DDP does; see `distrinews.sync.overlap`.
        torch.mul(gradients, 1 / self._ranks.world_size, out=rows[self._ranks.rank])
        mean: torch.futures.Future[torch.Tensor] = torch.futures.Future()
        self._buckets.append((gradients, rows, mean))
        return mean

    def _finish_backward(self) -> None:
        """After backward: synchronise, sum, synchronise, complete the futures."""
        buckets, self._buckets = self._buckets, []
        self._in_backward, self._num_bytes = False, 0
        for table in self._tables:
            table.write_rows()
        # The vote is the first barrier: no rank reads before all have written.
        num_missing = torch.tensor([len(self._missing)])
        torch_dist.all_reduce(num_missing)
        if num_missing.item():
            dist.vote_then_raise(self._unused_error())
        for _, rows, _ in buckets:
            _sum_own_chunk(rows, rank=self._ranks.rank)
        for table in self._tables:
            table.sum_rows()
        # The second: no rank uses or overwrites gradients before all have added up.
        torch_dist.barrier()
        for gradients, rows, mean in buckets:
            # A copy, because DDP splits the result by positions in its storage, as if
            # it started at 0; a part of our memory does not.
            mean.set_result(gradients.copy_(rows[self._ranks.rank]))

    def _unused_error(self) -> MissingGradientError | None:
        """An error that names the parameters that this rank lacks, if any."""
        if not self._missing:
            return None
        return MissingGradientError(
            f"rank {self._ranks.rank}: backward() gave no gradient to "
            f"{len(self._missing)} of the trainable parameters: "
            f"{sorted(self._missing)}.",
            why="the loss does not depend on them here; on another rank it may, and "
            "the mean would be wrong.",
            fix="use them in the loss on every rank, or freeze them with "
            "requires_grad_(False) before wrapping the model.",
            page="missing-gradient",
        )


def _aligned(num_bytes: int) -> int:
    """The next multiple of 64, so that a part of any dtype is aligned."""
    return -(-num_bytes // 64) * 64


def _sum_own_chunk(rows: torch.Tensor, *, rank: int) -> None:
    """Sum this rank's part of the elements and write it into every rank's row."""
    world_size, num_elements = rows.shape
    chunk_size = math.ceil(num_elements / world_size)
    own_row, *other_rows = rows[:, rank * chunk_size : (rank + 1) * chunk_size]
    for begin in range(0, own_row.numel(), ELEMENTS_AT_ONCE):
        sums = own_row[begin : begin + ELEMENTS_AT_ONCE]
        other_parts = [row[begin : begin + ELEMENTS_AT_ONCE] for row in other_rows]
        for part in other_parts:
            sums.add_(part)
        for part in other_parts:
            part.copy_(sums)


class _SharedTable:
    """The rows of an embedding that each rank touched, in memory that all can read."""

    def __init__(self, table: nn.Embedding, ranks: dist.Ranks) -> None:
        self._row_gradient = sparse_embedding.RowGradient(table)
        self._ranks = ranks
        num_rows, width = table.weight.shape
        # For each rank: how many rows it touched, then their numbers.
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
        The same memory on every rank, filled with zeros.

    Raises:
        SetupError: The ranks are not on one machine, or it lacks space. On every rank.

    Note:
        On Linux the memory is a file in /dev/shm or, if that is too small, as often in
        containers, in the temporary folder. The file is unlinked before this function
        returns, so nothing is left, however the ranks end. Windows cannot delete a file
        that is in use: there it is in the launcher's folder, which the launcher removes
        when the ranks have ended. Ranks that another program started leave it in the
        temporary folder. (Not run on Windows; its rule is imitated.)
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
                why="the ranks exchange their gradients in it.",
                fix="free disk space, or use DistributedDataParallel.",
                page="shared-memory",
            )
    dist.vote_then_raise(problem)
    path = dist.broadcast_object(path)
    try:
        mapped = torch.from_file(path, shared=True, size=max(1, size), dtype=dtype)
    except (OSError, RuntimeError) as error:
        problem = SetupError(
            f"rank {ranks.rank} cannot open rank 0's shared memory ({error}).",
            why="ranks share memory only if they run on one machine.",
            fix="use DistributedDataParallel, which sends gradients.",
            page="shared-memory",
        )
    try:
        dist.vote_then_raise(problem)
    finally:
        if ranks.is_main:
            with contextlib.suppress(OSError):  # Windows: see above
                os.unlink(path)
    return mapped[:size].view(ranks.world_size, num_elements)


def _create_file(num_bytes: int) -> str:
    """Make a file of that size and reserve its space."""
    store = os.environ.get(process_group.STORE_VARIABLE)
    folders = [pathlib.Path("/dev/shm"), pathlib.Path(tempfile.gettempdir())]
    if store and not hasattr(os, "posix_fallocate"):  # on Windows and macOS
        folders = [pathlib.Path(store).parent]
    problem = OSError("no folder for it")
    for folder in folders:
        try:
            descriptor, path = tempfile.mkstemp(prefix="distrinews-memory-", dir=folder)
        except OSError as error:
            problem = error
            continue
        try:
            if hasattr(os, "posix_fallocate"):
                # Otherwise a file may have a size for which the disk has no space, and
                # the process would die by SIGBUS when it writes there.
                os.posix_fallocate(descriptor, 0, num_bytes)
            else:
                os.ftruncate(descriptor, num_bytes)
        except OSError as error:
            problem = error
        else:
            return path
        finally:
            os.close(descriptor)
        os.unlink(path)  # only now: Windows cannot delete an open file
    raise problem
