"""Keep all replicas identical: average gradients and compare replicas.

After `backward()` every rank must hold the same gradient, so that every rank takes the
same optimizer step. There are four versions; each gives the same gradients as the one
before, faster:

1. `average.average_gradients`: one all-reduce per parameter; what DDP does, as a loop.
2. `average.average_gradients_flat`: all gradients in one long tensor, one all-reduce.
3. `average.average_gradients_in_buckets`: a few tensors of some megabytes.
4. `overlap.Overlapped`: sends the buckets while backward still runs, as torch's
   `DistributedDataParallel` does; train with torch's, by `wrap_ddp`.

- `buffers`: copy rank 0's buffers (BatchNorm's statistics) before an evaluation.
- `discarded`: run a first step and undo it, for a resume with the same bits.
- `replicas`: are the replicas equal, and which tensor differs first?
- `ring`: add up a tensor over W ranks with messages between neighbours.
- `wrong`: three versions that run without an error but are wrong.
- `shared_memory`, `sparse_embedding`: faster than DDP on one machine without GPUs.
- `wrappers`: `wrap_ddp`, torch's DDP for one rank or many; our base class.

Not here: starting processes (`distrinews.dist`), splitting data
(`distrinews.sharding`), saving the result (`distrinews.checkpoint`).

Guide: understand/gradient-sync.
"""

from __future__ import annotations

from distrinews.sync.average import (
    average_gradients,
    average_gradients_flat,
    average_gradients_in_buckets,
    average_gradients_weighted,
    no_sync_unless,
    uneven_loss_weight,
)
from distrinews.sync.buffers import broadcast_buffers
from distrinews.sync.discarded import discarded_step
from distrinews.sync.overlap import Overlapped
from distrinews.sync.replicas import assert_replicas_equal, max_parameter_gap
from distrinews.sync.ring import RingCost, ring_all_reduce
from distrinews.sync.shared_memory import ddp_in_shared_memory
from distrinews.sync.wrappers import wrap_ddp

__all__ = [
    "Overlapped",
    "RingCost",
    "assert_replicas_equal",
    "average_gradients",
    "average_gradients_flat",
    "average_gradients_in_buckets",
    "average_gradients_weighted",
    "broadcast_buffers",
    "ddp_in_shared_memory",
    "discarded_step",
    "max_parameter_gap",
    "no_sync_unless",
    "ring_all_reduce",
    "uneven_loss_weight",
    "wrap_ddp",
]
