"""Decide which rank reads which row: the part of data parallelism that DDP omits.

DDP averages gradients. It does not split batches: unless you give each rank different
rows, all ranks train on the same ones. This package does the splitting.

Training and evaluation need different splits. In training each step ends in a
collective, so every rank needs the same number of batches. In evaluation the loop
contains no collective, so the numbers of batches may differ, and every row is read
exactly once.

- `sampler`: single rows, dealt to the ranks like cards; evaluation batches.
- `batch_sampler`: whole global batches, shuffled or balanced by length.
- `stream`: the rows of an IterableDataset, which have no numbers.
- `stateful`: a sampler's position, for checkpoints.

Not here: reading rows (`distrinews.data`), averaging (`distrinews.sync`).

Guide: understand/sharding.
"""

from __future__ import annotations

from distrinews.sharding.batch_sampler import (
    GlobalBatchSampler,
    LengthBalancedBatchSampler,
    ShuffledBatchSampler,
    padding_share,
    per_rank_batch_size,
)
from distrinews.sharding.sampler import (
    ShardSampler,
    assignment_table,
    evaluation_batches,
)
from distrinews.sharding.stateful import StatefulSampler
from distrinews.sharding.stream import shard_iterable

__all__ = [
    "GlobalBatchSampler",
    "LengthBalancedBatchSampler",
    "ShardSampler",
    "ShuffledBatchSampler",
    "StatefulSampler",
    "assignment_table",
    "evaluation_batches",
    "padding_share",
    "per_rank_batch_size",
    "shard_iterable",
]
