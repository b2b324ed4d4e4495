"""Average gradients while backward still computes: torch's DDP in a hundred lines.

Backward goes from the last layer to the first. When the last layer's gradient is
finished it can be sent, while the processor still computes the layers before it. So a
hook on every parameter reports that its gradient is finished; when a bucket is full,
its all-reduce starts in the background; at the end of backward, wait for the
all-reduces that are still running.

Not here: the hooks themselves (`distrinews.sync.wrappers`), the simpler variants
(`distrinews.sync`). Torch's DDP also does what is left out here: rebuilding the buckets
in the order in which gradients really arrive (for this course's models that is the
order assumed here), finding unused parameters in the graph, buffers that change in
training, mixed precision, static graphs.

Letters used for shapes: P = shape of one parameter, W = number of ranks.
Guide: understand/ddp-inside.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist
from distrinews.sync.wrappers import HookedModule

__all__ = ["BUCKET_BYTES", "FIRST_BUCKET_BYTES", "Overlapped", "cut_into_buckets"]

# torch DDP's own sizes (torch/nn/parallel/distributed.py, torch 2.13). The first bucket
# is small, so that sending starts early.
BUCKET_BYTES = 25 * 1024 * 1024
FIRST_BUCKET_BYTES = 1024 * 1024


def cut_into_buckets(
    tensors: Sequence[torch.Tensor], *, first_bytes: float, bucket_bytes: float
) -> list[list[int]]:
    """Put tensors, in their order, into buckets; close a bucket once it is full.

    Args:
        tensors: In the order in which they will be ready.
        first_bytes: When the first bucket is full.
        bucket_bytes: When any other one is.

    Returns:
        For each bucket the indices of its tensors, in the order in which the buckets
        can be full. A bucket holds one dtype on one device; each such kind has its own
        buckets, the first one of `first_bytes`. The tensor that fills a bucket is still
        inside, as in torch's DDP.

    Examples:
        >>> four = [torch.zeros(2) for _ in range(4)]  # 8 bytes each
        >>> cut_into_buckets(four, first_bytes=8, bucket_bytes=16)
        [[0], [1, 2], [3]]
    """
    buckets: list[list[int]] = []
    open_buckets: dict[tuple[torch.dtype, torch.device], list[int]] = {}
    bytes_left: dict[tuple[torch.dtype, torch.device], float] = {}
    for index, tensor in enumerate(tensors):
        kind = (tensor.dtype, tensor.device)
        if kind not in open_buckets:
            open_buckets[kind] = []
            bytes_left[kind] = bucket_bytes if kind in bytes_left else first_bytes
        open_buckets[kind].append(index)
        bytes_left[kind] -= tensor.nbytes
        if bytes_left[kind] <= 0:
            buckets.append(open_buckets.pop(kind))
    # Also the buckets that are still open, in the order of their last tensor.
    return sorted([*buckets, *open_buckets.values()], key=lambda bucket: bucket[-1])


class _Bucket:
    """One flat tensor, the gradients as views into it, and the missing parameters."""

    def __init__(self, params: dict[str, nn.Parameter]) -> None:
        sizes = [param.numel() for param in params.values()]
        # One element more than the gradients need: in it the ranks add up how many
        # parameters they lack. This vote is sent with the gradients, for free.
        first = next(iter(params.values()))
        self.flat = first.new_zeros(sum(sizes) + 1)  # [elements + 1]
        parts = zip(params.items(), self.flat[:-1].split(sizes), strict=True)
        self.views = {name: part.view_as(param) for (name, param), part in parts}
        self.missing: set[str] = set()
        self.work: torch_dist.Work | None = None


class Overlapped(HookedModule):
    """Wrap a model so that `backward()` leaves averaged gradients on every rank.

    The fourth variant of `distrinews.sync`, with two ranks equal to torch's
    `DistributedDataParallel` bit for bit. Alone it only passes calls through.

    Collective: every rank must build it, with the same architecture, and every rank
    must call `backward()` equally often.

    Args:
        module: The replica, on its device. Rank 0's parameters and buffers are copied
            to all: averaging keeps equal replicas equal, it never makes them equal.
        bucket_bytes: How many bytes are sent at once.
        first_bucket_bytes: The same for the first bucket.

    Attributes:
        module: The bare model. Save and evaluate that one.

    Raises:
        MissingGradientError: From `backward()`, on every rank: some rank's loss did not
            use a trainable parameter. Names the rank and its parameters.

    Note:
        Cost: one broadcast of the model when built; then one all-reduce per bucket and
        `backward()`, 4 bytes per float32 element. The gradients live in the buckets,
        without a second copy. On a GPU Python waits at the end of backward to read the
        votes; torch's DDP does not. If a rank's loss depends on no parameter at all, no
        hook runs, and the other ranks wait until the timeout, as with torch's DDP.

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
        super().__init__(module)
        self._world_size = dist.current().world_size
        self._next_bucket = 0  # the index of the next bucket to all-reduce
        if self._world_size == 1:
            return
        self._copy_from_rank_0()
        # Reversed, because a model lists its layers in forward order, and gradients
        # arrive in the opposite order.
        named = [(n, p) for n, p in module.named_parameters() if p.requires_grad][::-1]
        buckets = cut_into_buckets(
            [param for _, param in named],
            first_bytes=first_bucket_bytes,
            bucket_bytes=bucket_bytes,
        )
        self._buckets = [
            _Bucket(dict(named[i] for i in indices)) for indices in buckets
        ]
        self._bucket_of = {n: bucket for bucket in self._buckets for n in bucket.views}
        self._register_hooks()

    def _begin_backward(self) -> None:
        """At the first gradient of a backward: mark all gradients as missing."""
        self._next_bucket = 0
        for bucket in self._buckets:
            bucket.missing = set(bucket.views)

    def _take_gradient(self, name: str, param: nn.Parameter) -> None:
        """Move a gradient, divided by W, into its bucket, where it stays."""
        bucket = self._bucket_of[name]
        if param.grad is not None:
            # Divide before the sum, because the sum of W gradients may overflow where
            # their mean does not; and do it here, because the move touches every
            # element anyway.
            torch.mul(param.grad, 1 / self._world_size, out=bucket.views[name])
            param.grad = bucket.views[name]
        bucket.missing.discard(name)
        self._launch_full_buckets()

    def _launch_full_buckets(self) -> None:
        """Start the all-reduce of every bucket that is full, strictly in order."""
        # In order, because collectives are matched by the order of the calls. Ranks may
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
        """After backward: send the remaining buckets, wait for all, check the votes."""
        for bucket in self._buckets[self._next_bucket :]:
            # Send it although it is not full: the other ranks wait for it.
            for name in bucket.missing:
                bucket.views[name].zero_()
            self._launch(bucket)
        for bucket in self._buckets:
            if bucket.work is not None:
                bucket.work.wait()
                bucket.work = None
        if any(bucket.flat[-1].item() for bucket in self._buckets):
            self._raise_unused({n for bucket in self._buckets for n in bucket.missing})
