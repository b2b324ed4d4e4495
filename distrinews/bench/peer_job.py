"""What every library in the comparison is given, and a record of what it does.

Promise: which rows a loop read, how wide it padded them and when its steps ended is
written down by the same hand for all of them, from the batches that it really read.

Not here: the loops (`distrinews.bench.peer_loops`), measuring
(`distrinews.bench.peers`).

Letters used for shapes: B = rows per rank and step, T = tokens.
Guide: benchmarks/peers.
"""

from __future__ import annotations

import time
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

__all__ = ["Batch", "Job", "checksum"]

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
        on_step_end: Called after each step, such as to move a progress bar.
        step_ends_s: When each step ended.
        row_checksums: Checksum of each row that was read, in order.
        padded_sizes: Tokens of each batch that was read, padding included.
        real_tokens: Tokens of all batches, padding not included.
    """

    net: DistilBertForSequenceClassification
    splits: Splits
    train: Dataset
    validation: Dataset
    settings: DistributedSettings
    ranks: Ranks
    on_step_end: Callable[[], object] = lambda: None
    step_ends_s: list[float] = field(default_factory=list)
    row_checksums: list[int] = field(default_factory=list)
    padded_sizes: list[int] = field(default_factory=list)
    real_tokens: int = 0

    @property
    def per_rank_batch_size(self) -> int:
        """Rows per rank and step, B."""
        return self.settings.global_batch_size // self.ranks.world_size

    @property
    def adamw_options(self) -> dict[str, Any]:
        """What every AdamW is given."""
        rate, decay = self.settings.peak_learning_rate, self.settings.weight_decay
        return {"lr": rate, "weight_decay": decay}

    def end_step(self) -> None:
        """Note that a step has ended."""
        if self.ranks.device.type == "cuda":
            torch.cuda.synchronize(self.ranks.device)
        self.step_ends_s.append(time.perf_counter())
        self.on_step_end()

    def record_reads(self, collate: Callable[[Any], Batch]) -> Callable[[Any], Batch]:
        """Write down which rows a loader reads, and how wide it pads them.

        Args:
            collate: Makes a batch of rows.

        Returns:
            The same function, which also records every batch.
        """

        def collate_and_record(rows: Sequence[dict[str, Any]]) -> Batch:
            batch = collate(rows)
            self.record_batch([row["input_ids"] for row in rows], batch["input_ids"])
            return batch

        return collate_and_record

    def batch(self, indices: Sequence[int]) -> tuple[Batch, torch.Tensor]:
        """Read a batch as our library does, and write it down.

        Args:
            indices: As for `Splits.batch`.

        Returns:
            As `Splits.batch`.
        """
        inputs, labels = self.splits.batch(indices, device=self.ranks.device)
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        ids = inputs["input_ids"].tolist()
        rows = [row[:length] for row, length in zip(ids, lengths, strict=True)]
        self.record_batch(rows, inputs["input_ids"])
        return inputs, labels

    def record_batch(self, rows: Sequence[Sequence[int]], padded: torch.Tensor) -> None:
        """Write down a batch.

        Args:
            rows: Token ids of each row.
            padded: The batch they became [B, T].
        """
        self.row_checksums += [checksum(row) for row in rows]
        self.padded_sizes.append(padded.numel())
        self.real_tokens += sum(len(row) for row in rows)


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
