"""Evaluate the course's models on rows of a table: every row once over all ranks.

Not here: the loop over batches (`distrinews.metrics.evaluation`), which any model and
any data can use.

Guide: understand/exact-evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from distrinews import metrics, sharding
from distrinews.data.token_table import TokenTable
from distrinews.dist import Ranks

__all__ = ["BATCH_SIZE", "evaluate_table"]

# Rows per evaluation batch. Not a setting: with the batches, the last digits of the
# losses would change, and results would no longer compare.
BATCH_SIZE = 64


def evaluate_table(
    net: nn.Module,
    table: TokenTable,
    ranks: Ranks,
    *,
    rows: Sequence[int] | None = None,
    title: str | None = None,
) -> metrics.ClassificationMetrics:
    """Count a classifier's answers over all ranks.

    Collective: every rank must call it.

    Args:
        net: A model whose output has `logits`, or its DDP wrapper.
        table: Tokenised rows.
        ranks: Who this process is.
        rows: Which rows of the table; None for all.
        title: Shown beside a progress bar on rank 0; None for no bar.

    Returns:
        The metrics of all rows, the same on every rank.

    Raises:
        DistriNewsError: As `metrics.evaluate`, on every rank.

    Note:
        Cost: as `metrics.evaluate`; with four classes the metrics take 376 bytes.
    """
    row_numbers = list(range(len(table))) if rows is None else list(rows)
    lengths = [int(table.lengths[row]) for row in row_numbers]
    batches = sharding.evaluation_batches(lengths, ranks, batch_size=BATCH_SIZE)

    def forward(net: nn.Module, batch: list[int]) -> tuple[Any, torch.Tensor]:
        chosen = [row_numbers[index] for index in batch]
        inputs, labels = table.batch(chosen, device=ranks.device)
        return net(**inputs).logits, labels

    return metrics.evaluate(
        net,
        tqdm(batches, desc=title, disable=not (title and ranks.is_main)),
        metrics.ClassificationMetrics(table.class_names),
        forward=forward,
        num_rows=len(row_numbers),
    )
