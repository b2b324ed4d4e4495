"""A ring all-reduce by hand: W ranks add up a tensor without a central server.

Every rank sends to its right neighbour only and receives from its left one. The tensor
is cut into W chunks. In the first W - 1 steps partial sums are passed around, until
each rank holds one finished chunk (reduce-scatter); in the next W - 1 steps the
finished chunks are passed around (all-gather). A rank sends 2 (W - 1) / W of the
tensor's bytes: hardly more with 100 ranks than with 10. If all ranks sent to rank 0 and
back, rank 0 alone would transfer 2 (W - 1) times the tensor.

Not here: averaging gradients (`distrinews.sync`); use torch's `all_reduce` there: gloo
and nccl do this and better, in compiled code.

Letters used for shapes: W = number of ranks, n = elements of the tensor.
Guide: understand/ring-all-reduce.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as torch_dist

from distrinews import dist

__all__ = ["RingCost", "ring_all_reduce"]


@dataclass(frozen=True)
class RingCost:
    """What one all-reduce cost this rank.

    Attributes:
        steps: Messages that this rank sent to its neighbour.
        sent_bytes: Their bytes.
    """

    steps: int
    sent_bytes: int


def ring_all_reduce(
    tensor: torch.Tensor, *, on_step: Callable[[str], None] | None = None
) -> RingCost:
    """Replace a tensor by its sum over all ranks, in place, with send and recv only.

    Collective: every rank must call it.

    Args:
        tensor: Contiguous; same shape and dtype on every rank, on the rank's device.
        on_step: Called after every step with its name, to look at the tensor. It may
            call collectives, because every rank calls it equally often.

    Returns:
        Steps and bytes that this rank sent: 2 (W - 1) steps.

    Raises:
        ValueError: The tensor is not contiguous. On this rank only; a model's tensors
            have the same layout on all.

    Note:
        Cost: 2 (W - 1) messages of about 1/W of the tensor. Every rank ends with the
        same bits, because each chunk is added up once, along the ring, and then copied.

    Source: Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, 2009.

    Examples:
        >>> ring_all_reduce(torch.ones(3))  # alone: nothing to send
        RingCost(steps=0, sent_bytes=0)
    """
    if not tensor.is_contiguous():
        raise ValueError("ring_all_reduce needs a contiguous tensor")
    ranks = dist.current()
    world_size = ranks.world_size
    if world_size == 1:
        return RingCost(steps=0, sent_bytes=0)
    # tensor_split, because n need not be a multiple of W. Chunks differ by one element.
    chunks = tensor.detach().view(-1).tensor_split(world_size)
    sent_bytes = 0

    # 1. Reduce-scatter: in step s, send the chunk that is s places behind this rank's
    # own.
    for step in range(world_size - 1):
        outgoing = chunks[(ranks.rank - step) % world_size]
        incoming = chunks[(ranks.rank - step - 1) % world_size]
        received = torch.empty_like(incoming)
        sent_bytes += _send_right_receive_left(outgoing, received, ranks)
        incoming += received
        if on_step is not None:
            on_step(f"reduce-scatter {step + 1}")
    # Now this rank holds the finished chunk (rank + 1) mod W.

    # 2. All-gather: pass the finished chunks around; they replace, not add.
    for step in range(world_size - 1):
        outgoing = chunks[(ranks.rank + 1 - step) % world_size]
        incoming = chunks[(ranks.rank - step) % world_size]
        sent_bytes += _send_right_receive_left(outgoing, incoming, ranks)
        if on_step is not None:
            on_step(f"all-gather {step + 1}")
    return RingCost(steps=2 * (world_size - 1), sent_bytes=sent_bytes)


def _send_right_receive_left(
    outgoing: torch.Tensor, incoming: torch.Tensor, ranks: dist.Ranks
) -> int:
    """Send to the right neighbour while receiving from the left one."""
    right = (ranks.rank + 1) % ranks.world_size
    left = (ranks.rank - 1) % ranks.world_size
    # Both at once: if every rank first sent and waited until its message was received,
    # none would ever receive: a deadlock, once messages exceed the system's buffers.
    sending = torch_dist.P2POp(torch_dist.isend, outgoing, right)
    receiving = torch_dist.P2POp(torch_dist.irecv, incoming, left)
    for work in torch_dist.batch_isend_irecv([sending, receiving]):
        work.wait()
    return outgoing.nbytes
