"""Average gradients while backward still computes: torch's DDP in a hundred lines.

Backward goes from the last layer to the first. When the last layer's gradient is
finished it could travel, and the processor is still busy with the layers before it. So:
a hook on every parameter says "mine is finished"; when a bucket is full, its all-reduce
starts in the background; at the end of backward one waits for what still travels.

Not here: the simpler variants (`distrinews.sync`). Left out of what torch's DDP does:
rebuilding the buckets in the order in which gradients really came (for this course's
models that order is the one assumed here), looking for unused parameters in the graph,
buffers that change in training, mixed precision, static graphs.

Letters used for shapes: P = shape of one parameter, W = number of ranks.
Guide: understand/ddp-inside.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from typing import Any

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist
from distrinews.errors import MissingGradientError

__all__ = ["BUCKET_BYTES", "FIRST_BUCKET_BYTES", "Overlapped", "cut_into_buckets"]

# torch DDP's own sizes (torch/nn/parallel/distributed.py, torch 2.13). The first bucket
# is small, so that something travels early.
BUCKET_BYTES = 25 * 1024 * 1024
FIRST_BUCKET_BYTES = 1024 * 1024


def cut_into_buckets(
    tensors: Sequence[torch.Tensor], *, first_bytes: int, bucket_bytes: int
) -> list[list[int]]:
    """Put tensors, in their order, into buckets that are closed once they are full.

    Args:
        tensors: In the order in which they will be ready.
        first_bytes: When the first bucket is full.
        bucket_bytes: When any other is.

    Returns:
        For each bucket the indices of its tensors, in the order in which the buckets
        can be full. A bucket holds one dtype on one device, and every such kind has
        buckets of its own, the first of `first_bytes`. The tensor that fills a bucket
        is still inside, as in torch's DDP.

    Examples:
        >>> four = [torch.zeros(2) for _ in range(4)]  # 8 bytes each
        >>> cut_into_buckets(four, first_bytes=8, bucket_bytes=16)
        [[0], [1, 2], [3]]
    """
    buckets: list[list[int]] = []
    open_buckets: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    bytes_left: dict[tuple[torch.dtype, torch.device], int] = {}
    for index, tensor in enumerate(tensors):
        kind = (tensor.dtype, tensor.device)
        if kind not in open_buckets:
            open_buckets[kind] = []
            bytes_left[kind] = bucket_bytes if kind in bytes_left else first_bytes
        open_buckets[kind].append(index)
        bytes_left[kind] -= tensor.nbytes
        if bytes_left[kind] <= 0:
            buckets.append(open_buckets.pop(kind))
    # Those that the last tensors left open, too, in the order of their last tensor.
    return sorted([*buckets, *open_buckets.values()], key=lambda bucket: bucket[-1])


class _Bucket:
    """One flat tensor, the gradients as views into it, and who is still missing."""

    def __init__(self, params: list[nn.Parameter]) -> None:
        sizes = [param.numel() for param in params]
        # WHY one more element than gradients need: there the ranks add up how many
        # parameters they lack. The vote travels with the gradients, at no cost.
        self.flat = params[0].new_zeros(sum(sizes) + 1)  # [elements + 1]
        parts = self.flat[:-1].split(sizes)
        self.views = [
            part.view_as(param) for part, param in zip(parts, params, strict=True)
        ]
        self.params = params
        self.missing: set[int] = set()
        self.work: torch_dist.Work | None = None

    def take_gradient(self, index: int, *, world_size: int) -> None:
        """Move a parameter's gradient, divided by W, into its view, where it stays."""
        param, view = self.params[index], self.views[index]
        if param.grad is not None:
            # WHY divide before the sum: W gradients may overflow where their mean does
            # not. WHY here: the move reads and writes every element anyway.
            torch.mul(param.grad, 1 / world_size, out=view)
            param.grad = view
        self.missing.discard(index)


class Overlapped(nn.Module):
    """Wrap a model so that `backward()` leaves averaged gradients on every rank.

    The fourth variant of `distrinews.sync`, equal to torch's `DistributedDataParallel`
    bit for bit with two ranks. Alone it only passes calls through.

    Collective: every rank must build it, with the same architecture, and every rank
    must call `backward()` equally often.

    Args:
        module: The replica, on its device. Rank 0's parameters and buffers are copied
            to all: averaging keeps equal replicas equal, it never makes them equal.
        bucket_bytes: How much travels at once.
        first_bucket_bytes: The same for the first bucket.

    Attributes:
        module: The bare model. Save and evaluate that one.

    Raises:
        MissingGradientError: From `backward()`, on every rank: some rank's loss did not
            use a trainable parameter. Names the rank and its parameters.

    Note:
        Cost: one broadcast of the model when built; then one all-reduce per bucket and
        `backward()`, 4 bytes per float32 element. The buckets are the gradients: no
        second copy. On a GPU Python waits at the end of backward, because it reads the
        votes; torch's DDP does not. A loss that depends on no parameter at all sets off
        no hook, and the other ranks wait until the timeout, as with torch's DDP.

    Source: Li et al., PyTorch Distributed, VLDB 2020, section 3.2.3.

    Examples:
        >>> replica = Overlapped(nn.Linear(2, 1))
        >>> replica(torch.ones(4, 2)).sum().backward()
        >>> replica.module.bias.grad
        tensor([4.])
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        bucket_bytes: int = BUCKET_BYTES,
        first_bucket_bytes: int = FIRST_BUCKET_BYTES,
    ) -> None:
        super().__init__()
        self.module = module
        self._world_size = dist.current().world_size
        self._sync = True
        self._buckets: list[_Bucket] = []
        self._next_bucket = 0  # the index of the next bucket to all-reduce
        self._in_backward = False
        if self._world_size == 1:
            return
        for tensor in [*module.parameters(), *module.buffers()]:
            torch_dist.broadcast(tensor.detach(), src=0)
        # WHY backwards: a model lists its layers in the order of forward, and gradients
        # come in the opposite one.
        params = [p for p in reversed(list(module.parameters())) if p.requires_grad]
        buckets = cut_into_buckets(
            params, first_bytes=first_bucket_bytes, bucket_bytes=bucket_bytes
        )
        for indices in buckets:
            bucket = _Bucket([params[index] for index in indices])
            for index, param in enumerate(bucket.params):
                self._register_hook(bucket, index, param)
            self._buckets.append(bucket)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module.

        Args:
            *args: For the module.
            **kwargs: For the module.

        Returns:
            What the module returns.
        """
        return self.module(*args, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Generator[None, None, None]:
        """Let gradients add up locally: no `backward()` inside communicates.

        Yields:
            None.
        """
        before, self._sync = self._sync, False
        try:
            yield
        finally:
            self._sync = before

    def _register_hook(self, bucket: _Bucket, index: int, param: nn.Parameter) -> None:
        def on_gradient(_: torch.Tensor) -> None:
            if self._sync:
                self._begin_backward()
                bucket.take_gradient(index, world_size=self._world_size)
                self._launch_full_buckets()

        # WHY this kind of hook: it runs after the gradient was added to what earlier
        # micro-batches left. `register_hook` runs before, and sees only the newest.
        param.register_post_accumulate_grad_hook(on_gradient)

    def _begin_backward(self) -> None:
        """At the first gradient of a backward: nothing is ready, nothing travels."""
        if self._in_backward:
            return
        self._in_backward, self._next_bucket = True, 0
        for bucket in self._buckets:
            bucket.missing = set(range(len(bucket.params)))
        # Runs when this backward has computed everything. It is what torch's DDP and
        # FSDP use; there is no public name for it.
        engine = torch.autograd.Variable._execution_engine
        engine.queue_callback(self._finish_backward)

    def _launch_full_buckets(self) -> None:
        """Start the all-reduce of every bucket that is full, strictly in order."""
        # WHY in order: collectives are matched by the order of the calls. Ranks may
        # fill their buckets in different orders, and would add up different buckets.
        while self._next_bucket < len(self._buckets):
            bucket = self._buckets[self._next_bucket]
            if bucket.missing:
                return
            self._launch(bucket)

    def _launch(self, bucket: _Bucket) -> None:
        bucket.flat[-1] = len(bucket.missing)
        bucket.work = torch_dist.all_reduce(bucket.flat, async_op=True)
        self._next_bucket += 1

    def _finish_backward(self) -> None:
        """Backward is over: send what is left, wait for all, look at the votes."""
        self._in_backward = False
        for bucket in self._buckets[self._next_bucket :]:
            # WHY send a bucket that is not full: the other ranks wait for it.
            for index in bucket.missing:
                bucket.views[index].zero_()
            self._launch(bucket)
        for bucket in self._buckets:
            if bucket.work is not None:
                bucket.work.wait()
                bucket.work = None
        if any(bucket.flat[-1].item() for bucket in self._buckets):
            dist.vote_then_raise(self._unused_error())

    def _unused_error(self) -> MissingGradientError | None:
        """What this rank lacks, as an error that names it."""
        unused_ids = {
            id(bucket.params[index])
            for bucket in self._buckets
            for index in bucket.missing
        }
        names = [n for n, p in self.module.named_parameters() if id(p) in unused_ids]
        if not names:
            return None
        return MissingGradientError(
            f"rank {dist.current().rank}: backward() reached no gradient of "
            f"{len(names)} trainable parameter(s): {names}.",
            why="the loss does not depend on them here; on another rank it may, and "
            "the mean would mix gradients with nothing.",
            fix="use them in the loss on every rank, or freeze them with "
            "requires_grad_(False) before wrapping the model.",
            page="missing-gradient",
        )
