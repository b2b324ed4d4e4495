"""Share rank 0's buffers: what DDP does before each forward of a training step.

Buffers are tensors of a model that no optimizer changes, such as BatchNorm's running
statistics. Between two steps each rank holds those of its own rows.

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

    Why: evaluated without it, W ranks answer as W different models. Rank 0's are those
    that a checkpoint holds and that DDP sends before the next training step.

    Collective: every rank must call it.

    Args:
        model: Same architecture on every rank.

    Note:
        Cost: one broadcast per buffer, of its bytes.

    Examples:
        >>> broadcast_buffers(nn.BatchNorm1d(2))  # alone: nobody to share with
    """
    if dist.current().world_size == 1:
        return
    with torch.no_grad():
        for buffer in model.buffers():
            dense = buffer.contiguous()  # a view with strides cannot travel
            torch_dist.broadcast(dense, src=0)
            if dense is not buffer:
                buffer.copy_(dense)
