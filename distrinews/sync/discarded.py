"""A step that leaves nothing behind, so that DDP has its final buckets from step one.

In its first step DDP has one bucket for each dtype, in the order of registration.
During that backward it notes in which order gradients came, and before the next forward
it cuts buckets of the usual size, in that order. A run that is resumed would therefore
begin with other buckets than the undisturbed run has at that step. A gradient's place
in its bucket decides in which order a ring adds up what the ranks send. Two summands
commute, so two ranks see no difference; three or more round differently, and the
resumed run ends with other bits.

Promise: with one discarded step before the real ones, in every run, fresh or resumed, a
resumed run has the buckets of the undisturbed run in every step.

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
    """Run a forward and a backward, then take back gradients, buffers, random states.

    Why: after it DDP knows the order in which gradients come. Do it right after the
    wrapping, before a checkpoint is loaded, in a fresh run as in a resumed one.

    The block is a collective when it calls a DDP wrapper: every rank must run it.

    Args:
        net: The bare model. Its buffers (BatchNorm's averages), its gradients (they
            become None) and torch's random states, the device's included, are
            afterwards as they were. Weights are: no optimizer takes a step.

    Yields:
        None. Call the wrapper and `backward()` in the block, with any row. What else a
        forward changes stays changed: attributes of modules, weights that an
        `Embedding(max_norm=...)` rescales, the random states of Python and NumPy.

    Raises:
        Exception: What the block raises, on this rank; the model is put back then, too.

    Note:
        Cost: the block's own forward and backward, and DDP's all-reduces of one step:
        every gradient once. For a moment a second copy of the buffers.
        `static_graph=True` cuts its buckets anew only after two steps: discard two.
        With `find_unused_parameters=True` DDP never does; there is nothing to gain.

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
        # WHY the device by number: without it torch saves the state of every GPU that
        # this process can see, and makes a context on each.
        with torch.random.fork_rng([device.index] if device.type == "cuda" else []):
            yield
    finally:
        with torch.no_grad():
            for name, buffer in net.named_buffers():
                if name in saved and buffer.shape == saved[name].shape:
                    buffer.copy_(saved[name])
        net.zero_grad(set_to_none=True)
