"""Copy rank 0's buffers to all ranks, as DDP does before a training step's forward.

Buffers are tensors of a model that no optimizer changes, such as BatchNorm's running
statistics. Between two steps each rank holds the statistics of its own rows.

Not here: comparing replicas (`distrinews.sync.replicas`).

Guide: understand/buffers-and-batch-norm.
"""

from __future__ import annotations

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist

__all__ = ["broadcast_buffers"]


def broadcast_buffers(model: nn.Module) -> None:
    """Replace every rank's buffers by rank 0's, in place.

    Why: otherwise W ranks would evaluate W different models. Rank 0's buffers are the
    ones that a checkpoint holds and that DDP sends before the next training step.

    Collective: every rank must call it.

    Args:
        model: Same architecture on every rank.

    Note:
        Cost: one broadcast per buffer, of its bytes.

    Examples:
        >>> broadcast_buffers(nn.BatchNorm1d(2))  # alone: nothing to copy
    """
    if dist.current().world_size == 1:
        return
    with torch.no_grad():
        for buffer in model.buffers():
            dense = buffer.contiguous()  # a strided view cannot be sent
            torch_dist.broadcast(dense, src=0)
            if dense is not buffer:
                buffer.copy_(dense)
