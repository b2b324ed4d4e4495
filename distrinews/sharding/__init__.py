"""Which rank reads which row: the part of data parallelism that DDP does not do.

DDP averages gradients. It does not split batches: unless each rank is told to read
other rows, all ranks train on the same ones. Here the split is written out.

Training and evaluation need different splits. In training each step ends in a
collective, so every rank needs the same number of batches. In evaluation no collective
stands inside the loop, so counts may differ, and every row is read exactly once.

- `sampler`: single rows, dealt to the ranks like cards; evaluation batches.
- `batch_sampler`: whole global batches, shuffled or balanced by length.
- `stream`: rows without numbers, of an IterableDataset.
- `stateful`: where a sampler stands, for checkpoints.

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
