"""Compute logits: torch float32, which is the reference, or ONNX Runtime.

Promise: every engine maps token ids to logits, and the answer to a text does not
depend on the texts beside it. An engine's `tolerance` says how far its scores may lie
from the reference's.

Not here: texts and labels (`distrinews.inference.classifier`), which engine to take
(`distrinews.inference.classifier.open_best`).

Letters used for shapes: B = texts, C = classes, T = tokens of the longest one.
Guide: understand/training-and-inference.
"""

from __future__ import annotations

import collections
import concurrent.futures
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from distrinews.errors import ModelError
from distrinews.inference import onnx_export
from distrinews.inference.bundle import CONFIG, WEIGHTS, Bundle
from distrinews.system import files, machine

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "NAMES",
    "REFERENCE",
    "TOLERANCES",
    "Engine",
    "OnnxEngine",
    "TorchEngine",
    "load",
    "batches_by_length",
]

Logits = npt.NDArray[np.float32]
REFERENCE = "torch-float32"
# How far a score (a probability) may lie from the reference's before the engine is
# called wrong on this machine. float32: sums in another order, measured below 1e-5.
TOLERANCES = {REFERENCE: 1e-4, "onnx-float32": 1e-4, "onnx-int8": 0.1}
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


def batches_by_length(
    lengths: Sequence[int], *, token_budget: int
) -> Iterator[list[int]]:
    """Put rows of like length together, so that little is padded.

    Args:
        lengths: Tokens of each row [N].
        token_budget: Padded tokens of a batch; a longer row gets its own batch.

    Yields:
        Indices of rows; every row once, in batches of rising length.

    Examples:
        >>> list(batches_by_length([9, 2, 3, 9], token_budget=18))
        [[1, 2], [0, 3]]
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        # The rows are sorted: this one is the longest of its batch.
        if batch and (len(batch) + 1) * lengths[index] > token_budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class TorchEngine:
    """The model as it was trained: torch, float32.

    Args:
        bundle: The export.
        num_threads: Threads of torch, for the whole process; None leaves them alone.

    Raises:
        ModelError: The weights do not fit the configuration.
    """

    name = REFERENCE
    tolerance = TOLERANCES[REFERENCE]

    def __init__(
        self,
        bundle: Bundle,
        *,
        num_threads: int | None = None,
    ) -> None:
        import safetensors.torch
        import torch
        from transformers import AutoConfig, AutoModelForSequenceClassification
        from transformers.utils import logging

        logging.disable_progress_bar()
        if num_threads is not None:
            torch.set_num_threads(num_threads)
        self.pad_id = bundle.pad_id
        config = AutoConfig.for_model(**files.parse_json(bundle.read(CONFIG)))
        with torch.device("meta"):  # only its class is wanted
            kind = type(AutoModelForSequenceClassification.from_config(config))
        # WHY from memory: what was verified is what is loaded, and no name in the
        # configuration (transformers_weights) leads to another file.
        self.net: PreTrainedModel = kind.from_pretrained(
            None,
            config=config,
            state_dict=safetensors.torch.load(bundle.read(WEIGHTS)),
        ).float()
        self.net.eval()  # dropout off: the same text gets the same answer

    def logits(self, rows: Sequence[Sequence[int]]) -> Logits:
        """Compute logits, rows of like length together.

        Args:
            rows: Token ids of B texts.

        Returns:
            float32 [B, C], in the order of the rows.
        """
        logits = np.zeros((len(rows), self.net.config.num_labels), np.float32)
        lengths = [len(row) for row in rows]
        for indices in batches_by_length(lengths, token_budget=TOKEN_BUDGET):
            logits[indices] = self._forward([rows[index] for index in indices])
        return logits

    def _forward(self, rows: Sequence[Sequence[int]]) -> Logits:
        import torch

        longest = max(len(row) for row in rows)
        ids = np.full((len(rows), longest), self.pad_id, np.int64)  # [B, T]
        mask = np.zeros_like(ids)  # [B, T]
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1
        with torch.inference_mode():
            output = self.net(
                input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)
            )
        logits: Logits = output.logits.numpy()
        return logits


class OnnxEngine:
    """ONNX Runtime, float32 or int8: each text alone, as many at once as cores.

    Why each text alone: nothing is padded, and int8 takes the scale of its activations
    from the text itself. In a padded batch that scale, and with it the answer, would
    depend on the neighbours. See the guide.

    Args:
        name: "onnx-float32" or "onnx-int8".
        model: The ONNX model, verified.
        num_threads: Texts to compute at the same time.

    Raises:
        ModelError: ONNX Runtime cannot read the file.
    """

    def __init__(self, name: str, model: bytes, *, num_threads: int) -> None:
        import onnxruntime

        self.name, self.tolerance = name, TOLERANCES[name]
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        # WHY one: a text is too little work to share out; whole texts are shared out.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        # WHY everything: ONNX Runtime's errors have no common ancestor but this.
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime cannot open {name}: {str(error)[:200]}.",
                why="it may be of another version than the one that made the model.",
                fix="delete the folder export-engines of the run; it is made again.",
                page="engines",
            ) from error
        self._num_threads = num_threads
        self._threads = concurrent.futures.ThreadPoolExecutor(
            num_threads,
            thread_name_prefix="engine",
            initializer=machine.lower_thread_priority,
        )

    def logits(self, rows: Sequence[Sequence[int]]) -> Logits:
        """Compute logits.

        Args:
            rows: Token ids of B texts.

        Returns:
            float32 [B, C], in the order of the rows.
        """
        if len(rows) == 1:  # no other thread need wake up
            return self._logits_of_row(rows[0])[None]
        # WHY the longest first: begun last, it would keep all other cores waiting.
        pending = collections.deque(
            sorted(range(len(rows)), key=lambda index: -len(rows[index]))
        )
        # WHY not a task a text: between two texts a thread would wait for the caller's
        # to take note, and both for Python's lock, which a server's event loop holds.
        num_workers = min(self._num_threads, len(rows))
        tasks = [
            self._threads.submit(self._run_worker, rows, pending)
            for _ in range(num_workers)
        ]
        concurrent.futures.wait(tasks)
        results: dict[int, Logits] = {}
        for task in tasks:
            results |= task.result()
        return np.stack([results[index] for index in range(len(rows))])

    def _run_worker(
        self, rows: Sequence[Sequence[int]], pending: collections.deque[int]
    ) -> dict[int, Logits]:
        """Compute pending rows until none is left; logits [C] by index."""
        results: dict[int, Logits] = {}
        while True:
            try:
                index = pending.popleft()
            except IndexError:  # none is left
                return results
            results[index] = self._logits_of_row(rows[index])

    def _logits_of_row(self, row: Sequence[int]) -> Logits:
        """Logits [C] of one text."""
        [outputs] = self._session.run(None, {"input_ids": np.array([row], np.int32)})
        logits: Logits = outputs[0]
        return logits


def load(
    name: str,
    bundle: Bundle,
    *,
    num_threads: int | None = None,
    cache: pathlib.Path | str | None = None,
) -> Engine:
    """Load an engine, and make its own model file if it needs one that is missing.

    Args:
        name: A name in `NAMES`.
        bundle: The export.
        num_threads: Threads to compute with; None: torch's are left alone, ONNX
            Runtime gets one for each core.
        cache: Where made models are kept; None: beside the export.

    Returns:
        The engine, its weights in memory.

    Raises:
        ModelError: The name is unknown, or the engine cannot be had.
        OutputError: A model had to be made and could not be written.
    """
    if name not in NAMES:
        raise ModelError(
            f"there is no engine {name!r}.",
            why="each engine computes in a different way.",
            fix=f"one of {', '.join(NAMES)}.",
            page="engines",
        )
    if name == REFERENCE:
        return TorchEngine(bundle, num_threads=num_threads)
    onnx_export.check_installed("onnxruntime")
    model = onnx_export.read(bundle, name, cache=cache)
    return OnnxEngine(name, model, num_threads=num_threads or machine.num_cores())
