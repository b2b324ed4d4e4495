"""What every library in the comparison is given, and a record of what it reads.

Promise: which rows a loop read, and how wide it padded them, is written down by the
same hand for all of them, from the batches that it really read.

Not here: the loops (`distrinews.bench.peer_loops`), the program that runs one
(`distrinews.bench.peer_program`).

Letters used for shapes: B = rows per rank and step, T = tokens.
Guide: benchmarks/peers.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from distrinews.config.settings import DistributedSettings
from distrinews.dist import Ranks
from distrinews.training.corpus import Splits

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import DistilBertForSequenceClassification

__all__ = ["Batch", "Job", "build", "checksum"]

Batch = dict[str, torch.Tensor]


@dataclass
class Job:
    """What every loop is given, and what is written down while it runs.

    Attributes:
        net: A fresh model on the rank's device, the same weights on every rank.
        splits: The rows as our library keeps them.
        train: Rows to train on, once each, as `datasets.Dataset`: `input_ids`,
            `attention_mask`, `labels`, `length`.
        validation: Rows for the loop's own evaluation.
        settings: The recipe.
        ranks: Who this process is.
        row_checksums: Checksum of each row that was read, in order.
        batch_places: Places of each batch that was read, padding included.
        num_tokens: Tokens of all batches, padding not included.
    """

    net: DistilBertForSequenceClassification
    splits: Splits
    train: Dataset
    validation: Dataset
    settings: DistributedSettings
    ranks: Ranks
    row_checksums: list[int] = field(default_factory=list)
    batch_places: list[int] = field(default_factory=list)
    num_tokens: int = 0

    @property
    def per_rank_batch_size(self) -> int:
        """Rows per rank and step, B."""
        return self.settings.global_batch_size // self.ranks.world_size

    @property
    def adamw_options(self) -> dict[str, Any]:
        """What every AdamW is given."""
        rate, decay = self.settings.peak_learning_rate, self.settings.weight_decay
        return {"lr": rate, "weight_decay": decay}

    def record_reads(self, collate: Callable[[Any], Batch]) -> Callable[[Any], Batch]:
        """Write down which rows a loader reads, and how wide it pads them.

        Args:
            collate: Makes a batch of rows.

        Returns:
            The same function, which also records every batch.
        """

        def collate_and_record(rows: Sequence[dict[str, Any]]) -> Batch:
            batch = collate(rows)
            self.row_checksums += [checksum(row["input_ids"]) for row in rows]
            self.batch_places.append(batch["input_ids"].numel())
            self.num_tokens += sum(len(row["input_ids"]) for row in rows)
            return batch

        return collate_and_record


def build(
    net: DistilBertForSequenceClassification,
    splits: Splits,
    settings: DistributedSettings,
    ranks: Ranks,
) -> Job:
    """Copy the rows out of the mapped table, as the other libraries want them.

    Args:
        net: The model, on the rank's device.
        splits: The rows. Of those to train on, whole global batches are taken.
        settings: The recipe.
        ranks: Who this process is.

    Returns:
        The job of one loop.
    """
    from datasets import Dataset

    size = settings.global_batch_size
    # WHY whole batches: the last rows of an epoch are what the loops treat differently.
    kept = splits.train_rows[: len(splits.train_rows) // size * size]
    cpu, built = torch.device("cpu"), []
    for rows in (kept, splits.validation_rows):
        single_rows = [splits.train.batch([row], device=cpu)[0] for row in rows]
        ids = [inputs["input_ids"][0].tolist() for inputs in single_rows]
        built.append(
            Dataset.from_dict({
                "input_ids": ids,
                "attention_mask": [[1] * len(row) for row in ids],
                "labels": splits.train.labels[rows].tolist(),
                "length": [len(row) for row in ids],
            })
        )
    train, validation = built
    return Job(net, splits, train, validation, settings, ranks)


def checksum(ids: Sequence[int]) -> int:
    """Name a row by its content.

    Args:
        ids: Its token ids.

    Returns:
        A number that another row has only by chance, once in four thousand million.

    Examples:
        >>> checksum([101, 7, 102]) == checksum([101, 7, 102]) != checksum([101, 102])
        True
    """
    return zlib.crc32(torch.tensor(list(ids), dtype=torch.int32).numpy().tobytes())
