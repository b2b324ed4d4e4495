"""Compute logits: torch float32, which is the reference, or ONNX Runtime.

Promise: every engine maps token ids to logits, and the answer to a text does not
depend on the texts beside it. An engine's `tolerance` says how far its scores may lie
from the reference's.

Not here: texts and labels (`distrinews.inference`), which engine to take
(`distrinews.parity`).

Letters used for shapes: B = texts, C = classes, T = tokens of the longest one.
Guide: understand/training-and-inference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from distrinews.errors import ModelError
from distrinews.exported import Exported

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["NAMES", "REFERENCE", "TOLERANCES", "Engine", "TorchEngine", "load"]

Logits = npt.NDArray[np.float32]
REFERENCE = "torch-float32"
# How far a score (a probability) may lie from the reference's before the engine is
# called wrong on this machine.
TOLERANCES = {REFERENCE: 1e-5, "onnx-float32": 1e-4, "onnx-int8": 0.1}
NAMES = tuple(TOLERANCES)
# Padded tokens of one forward pass: 32 texts of the usual longest length.
TOKEN_BUDGET = 4096


class Engine(Protocol):
    """What computes logits.

    Attributes:
        name: A name in `NAMES`.
        tolerance: How far a score may lie from the reference's.
    """

    name: str
    tolerance: float

    def logits(self, rows: Sequence[Sequence[int]]) -> Logits:
        """Compute logits [B, C], in the order of the rows of token ids."""


def micro_batches(lengths: Sequence[int], *, token_budget: int) -> Iterator[list[int]]:
    """Put rows of like length together, so that little is padded.

    Args:
        lengths: Tokens of each row [N].
        token_budget: Padded tokens of a batch; a longer row gets one of its own.

    Yields:
        Places of rows; every row once, in batches of rising length.

    Examples:
        >>> list(micro_batches([9, 2, 3, 9], token_budget=18))
        [[1, 2], [0, 3]]
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        # The rows are sorted: this one is the longest of its batch.
        if batch and (len(batch) + 1) * lengths[place] > token_budget:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch


class TorchEngine:
    """The model as it was trained: torch, float32.

    Args:
        exported: The export.
        num_threads: Threads of torch, for the whole process; None leaves them alone.
        token_budget: Padded tokens of one forward pass.

    Raises:
        ModelError: The weights do not fit the configuration.
    """

    name = REFERENCE
    tolerance = TOLERANCES[REFERENCE]

    def __init__(
        self,
        exported: Exported,
        *,
        num_threads: int | None = None,
        token_budget: int = TOKEN_BUDGET,
    ) -> None:
        import torch
        from transformers import AutoModelForSequenceClassification
        from transformers.utils import logging

        logging.disable_progress_bar()
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self.pad_id, self.token_budget = exported.pad_id, token_budget
        # WHY local_files_only: a mistyped path must not become a question to the Hub.
        self.net: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            exported.folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
        ).float()
        self.net.eval()  # dropout off: the same text gets the same answer

    def logits(self, rows: Sequence[Sequence[int]]) -> Logits:
        """Compute logits, rows of like length together.

        Args:
            rows: Token ids of B texts.

        Returns:
            float32 [B, C], in the order of the rows.
        """
        found = np.zeros((len(rows), self.net.config.num_labels), np.float32)
        lengths = [len(row) for row in rows]
        for places in micro_batches(lengths, token_budget=self.token_budget):
            found[places] = self._forward([rows[place] for place in places])
        return found

    def _forward(self, rows: Sequence[Sequence[int]]) -> Logits:
        import torch

        longest = max(len(row) for row in rows)
        ids = np.full((len(rows), longest), self.pad_id, np.int64)  # [B, T]
        mask = np.zeros_like(ids)  # [B, T]
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        with torch.inference_mode():
            found = self.net(
                input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)
            ).logits
        logits: Logits = found.numpy()
        return logits


def load(name: str, exported: Exported, *, num_threads: int | None = None) -> Engine:
    """Load an engine.

    Args:
        name: A name in `NAMES`.
        exported: The export.
        num_threads: Threads to compute with; None: torch's are left alone.

    Returns:
        The engine, its weights in memory.

    Raises:
        ModelError: The name is unknown, or the engine cannot be had.
    """
    known: dict[str, Any] = {REFERENCE: TorchEngine}
    if name not in known:
        raise ModelError(
            f"there is no engine {name!r}.",
            why="each engine computes in another way.",
            fix=f"one of {', '.join(known)}.",
            page="engines",
        )
    engine: Engine = known[name](exported, num_threads=num_threads)
    return engine
