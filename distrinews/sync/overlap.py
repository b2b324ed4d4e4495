"""Average gradients while backward still computes: torch's DDP in a hundred lines.

Backward goes from the last layer to the first. When the last layer's gradient is
finished it could travel, and the processor is still busy with the layers before it. So:
a hook on every parameter says "mine is finished"; when a bucket is full, its all-reduce
starts in the background; at the end of backward one waits for what still travels.

Not here: the hooks themselves (`distrinews.sync.wrappers`), the simpler variants
(`distrinews.sync`). Left out of what torch's DDP does:
rebuilding the buckets in the order in which gradients really came (for this course's
models that order is the one assumed here), looking for unused parameters in the graph,
buffers that change in training, mixed precision, static graphs.

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
# is small, so that something travels early.
BUCKET_BYTES = 25 * 1024 * 1024
FIRST_BUCKET_BYTES = 1024 * 1024


def cut_into_buckets(
    tensors: Sequence[torch.Tensor], *, first_bytes: float, bucket_bytes: float
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
    # Those that the last tensors left open, too, in the order of their last tensor.
    return sorted([*buckets, *open_buckets.values()], key=lambda bucket: bucket[-1])


class _Bucket:
    """One flat tensor, the gradients as views into it, and who is still missing."""

    def __init__(self, params: dict[str, nn.Parameter]) -> None:
        sizes = [param.numel() for param in params.values()]
        # WHY one more element than gradients need: there the ranks add up how many
        # parameters they lack. The vote travels with the gradients, at no cost.
        first = next(iter(params.values()))
        self.flat = first.new_zeros(sum(sizes) + 1)  # [elements + 1]
        parts = zip(params.items(), self.flat[:-1].split(sizes), strict=True)
        self.views = {name: part.view_as(param) for (name, param), part in parts}
        self.missing: set[str] = set()
        self.work: torch_dist.Work | None = None


class Overlapped(HookedModule):
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
        super().__init__(module)
        self._world_size = dist.current().world_size
        self._next_bucket = 0  # the index of the next bucket to all-reduce
        if self._world_size == 1:
            return
        self._copy_from_rank_0()
        # WHY backwards: a model lists its layers in the order of forward, and gradients
        # come in the opposite one.
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
        """At the first gradient of a backward: nothing is ready, nothing travels."""
        self._next_bucket = 0
        for bucket in self._buckets:
            bucket.missing = set(bucket.views)

    def _take_gradient(self, name: str, param: nn.Parameter) -> None:
        """Move a gradient, divided by W, into its bucket, where it stays."""
        bucket = self._bucket_of[name]
        if param.grad is not None:
            # WHY divide before the sum: W gradients may overflow where their mean does
            # not. WHY here: the move reads and writes every element anyway.
            torch.mul(param.grad, 1 / self._world_size, out=bucket.views[name])
            param.grad = bucket.views[name]
        bucket.missing.discard(name)
        self._launch_full_buckets()

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
        for bucket in self._buckets[self._next_bucket :]:
            # WHY send a bucket that is not full: the other ranks wait for it.
            for name in bucket.missing:
                bucket.views[name].zero_()
            self._launch(bucket)
        for bucket in self._buckets:
            if bucket.work is not None:
                bucket.work.wait()
                bucket.work = None
        if any(bucket.flat[-1].item() for bucket in self._buckets):
            self._raise_unused({n for bucket in self._buckets for n in bucket.missing})
