"""Evaluate a model on all ranks: every row counted once, none twice.

Promise: the confusion matrix is the one that a single process would have counted, with
any number of ranks, also where rows do not divide by them.

Not here: what is made of the counts (`distrinews.metrics`), which rank takes which
batch (`distrinews.sharding`).

Guide: understand/exact-evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from tqdm import tqdm

from distrinews import sharding
from distrinews.dist import Ranks
from distrinews.errors import SettingsError
from distrinews.metrics.classification import ClassificationMetrics

if TYPE_CHECKING:
    from distrinews.data.tokenised import TokenTable

__all__ = ["evaluate"]

# Rows per evaluation batch. Not a setting: with the batches, the last digits of the
# losses would change, and results would no longer compare.
BATCH_SIZE = 64


def evaluate(
    net: nn.Module,
    table: TokenTable,
    ranks: Ranks,
    *,
    rows: Sequence[int] | None = None,
    title: str | None = None,
) -> ClassificationMetrics:
    """Count a model's answers over all ranks.

    Collective: every rank must call it.

    Args:
        net: The bare model, not its DDP wrapper. It is put back into training mode if
            it was in it.
        table: Tokenised rows.
        ranks: Who this process is.
        rows: Which rows of the table; None for all.
        title: Shown beside a progress bar on rank 0; None for no bar.

    Returns:
        The metrics of all rows, the same on every rank.

    Raises:
        SettingsError: `net` is a DDP wrapper. The same on every rank.

    Note:
        Cost: no collective per batch; at the end three all-reduces, 376 bytes together.
    """
    if isinstance(net, nn.parallel.DistributedDataParallel):
        raise SettingsError(
            "evaluate() was given a DDP wrapper.",
            why="its first forward after a training step may broadcast buffers, and "
            "a rank without a batch would miss that collective.",
            fix="evaluate(replica.module, ...)",
            page="evaluation",
        )
    row_numbers = list(range(len(table))) if rows is None else list(rows)
    lengths = [int(table.lengths[row]) for row in row_numbers]
    batches = sharding.evaluation_batches(lengths, ranks, batch_size=BATCH_SIZE)
    counts = ClassificationMetrics(table.class_names)
    was_training = net.training
    net.eval()
    try:
        with torch.inference_mode():
            for batch in tqdm(
                batches, desc=title, disable=not (title and ranks.is_main)
            ):
                inputs, labels = table.batch(
                    [row_numbers[index] for index in batch], device=ranks.device
                )
                counts.update(net(**inputs).logits, labels)
    finally:
        net.train(was_training)
    return counts.all_reduce()
