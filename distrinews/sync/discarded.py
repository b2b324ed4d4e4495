"""Run a step and undo it, so that DDP has its final buckets from the first real step.

In its first step DDP has one bucket for each dtype, in the order of registration.
During that backward it records the order in which gradients arrive, and before the next
forward it cuts buckets of the usual size in that order. A resumed run would therefore
start with other buckets than the uninterrupted run has at that step. A gradient's place
in its bucket decides in which order a ring adds up the ranks' values. With two ranks
the order does not matter; with three or more the sums round differently, and the
resumed run ends with other bits.

If every run, fresh or resumed, discards one step before the real ones, a resumed run
has the same buckets as the uninterrupted run in every step.

Not here: the state of a run (`distrinews.checkpoint`).

Guide: understand/checkpoint.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import torch
from torch import nn

from distrinews import dist

__all__ = ["discarded_step"]


@contextlib.contextmanager
def discarded_step(net: nn.Module) -> Generator[None, None, None]:
    """Run a forward and a backward, then restore gradients, buffers and random states.

    Why: after it DDP knows the order in which gradients arrive. Use it right after
    wrapping, before a checkpoint is loaded, in fresh and in resumed runs.

    The block is a collective if it calls a DDP wrapper: every rank must run it.

    Args:
        net: The bare model. Afterwards its buffers (BatchNorm's averages) and torch's
            random states, the device's included, are restored, and its gradients are
            None. The weights are unchanged, because no optimizer takes a step.

    Yields:
        None. Call the wrapper and `backward()` in the block, with any row. Other
        changes that a forward makes are not undone: attributes of modules, weights that
        an `Embedding(max_norm=...)` rescales, the random states of Python and NumPy.

    Raises:
        Exception: Any error of the block, on this rank; the model is restored then too.

    Note:
        Cost: the block's own forward and backward, and DDP's all-reduces of one step:
        every gradient once. For a moment a second copy of the buffers.
        With `static_graph=True` DDP rebuilds its buckets only after two steps: discard
        two. With `find_unused_parameters=True` it never does; there is nothing to gain.

    Source: torch/csrc/distributed/c10d/reducer.cpp, `Reducer::rebuild_buckets`.

    Examples:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        >>> with discarded_step(net):
        ...     net(torch.rand(4, 2)).sum().backward()
        >>> int(net[1].num_batches_tracked), net[0].weight.grad
        (0, None)
    """
    saved = {name: buffer.clone() for name, buffer in net.named_buffers()}
    device = dist.current().device
    try:
        # Name the device: otherwise torch saves the state of every visible GPU and
        # creates a context on each.
        with torch.random.fork_rng([device.index] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in net.named_buffers():
                if name in saved and buffer.shape == saved[name].shape:
                    buffer.copy_(saved[name])
        net.zero_grad(set_to_none=True)
