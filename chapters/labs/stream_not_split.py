"""An IterableDataset: every rank reads the whole stream.

Symptom   "rows read by all ranks: [0, 0, 1, 1, ...] ... right is [0, 1, 2, ...]",
          reported by the detector.
Cause     A stream has no index, so no sampler can split it. DDP does not split data
          either.
Fix       Let each rank take every W-th row, starting at its rank
          (`datasets.distributed.split_dataset_by_node` does this).
Detector  The rows that all ranks read, put together.
Look at   The lines that the two ranks print: they are the same.
Question  What does an epoch cost now, compared with one process?
Source    https://github.com/huggingface/datasets/issues/5360
Concept   understand/sharding
Silent    yes
Takes     4 s
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from torch.utils.data import DataLoader, IterableDataset

from distrinews import dist
from distrinews.course import labs


class Stream(IterableDataset[int]):
    """Eight rows, one after another, as from a file too large to index."""

    def __init__(self, first: int = 0, stride: int = 1) -> None:
        self.first, self.stride = first, stride

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(range(8), self.first, None, self.stride)


def read(stream: Stream, ranks: dist.Ranks) -> list[int]:
    rows = [int(row) for row in DataLoader(stream, batch_size=None)]
    print(f"rank {ranks.rank} reads {rows}")
    return sorted(sum(dist.gather_objects(rows), []))


def broken(ranks: dist.Ranks) -> list[int]:
    return read(Stream(), ranks)


def fixed(ranks: dist.Ranks) -> list[int]:
    return read(Stream(ranks.rank, ranks.world_size), ranks)


def detect(ranks: dist.Ranks, got: list[int]) -> None:
    labs.expect("rows read by all ranks", got, want=list(range(8)))


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"rows read by all ranks: \[0, 0, 1, 1, 2, 2",
)

if __name__ == "__main__":
    LAB.main()
