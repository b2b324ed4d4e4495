"""Classify headlines with an exported model: load once, predict batches.

Training scale, inference simplicity: one process, no process group. A forward pass
needs no gradient, so there is nothing to average and nobody to wait for.

Not here: training, HTTP.

Letters used for shapes: B = texts, C = classes, T = tokens.
Guide: understand/training-and-inference.
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from distrinews import checkpoint, model
from distrinews.errors import CheckpointError, ModelError

__all__ = ["Classifier", "Prediction"]

BATCH_SIZE = 32
# What an answer depends on; the manifest must vouch for each.
NEEDED = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


@dataclass(frozen=True)
class Prediction:
    """The answer to one text.

    Attributes:
        label: The class with the highest probability.
        scores: Probability of each class; they add up to 1.
        truncated: Whether the text was longer than the model reads.
    """

    label: str
    scores: dict[str, float]
    truncated: bool


class Classifier:
    """An exported model, ready to answer.

    Args:
        folder: An export, or the run folder that holds it.

    Raises:
        ModelError: There is no export, or a file in it is damaged.
    """

    def __init__(self, folder: pathlib.Path | str) -> None:
        self.folder = _find_export(pathlib.Path(folder))
        model.silence_library_bars()
        # WHY local_files_only: a mistyped path must not become a question to the Hub.
        self.tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
            self.folder, local_files_only=True
        )
        self.net: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
            self.folder, local_files_only=True, use_safetensors=True
        )
        self.net.eval()  # dropout off: the same text gets the same answer
        names = self.net.config.id2label
        self.labels = [names[index] for index in range(len(names))]

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Classify texts, as they come: no repair, no clean-up.

        Args:
            texts: B texts; longer ones are cut at the model's maximum length.

        Returns:
            B predictions, in the order of the texts.

        Raises:
            ModelError: A text has no characters to judge.
        """
        for place, text in enumerate(texts):
            if not text.strip():
                raise ModelError(
                    f"text {place + 1} of {len(texts)} is empty.",
                    why="the model would answer, and the answer would mean nothing.",
                    fix='python -m distrinews predict --model runs/... "a headline"',
                    page="predict",
                )
        answers: list[Prediction] = []
        for start in range(0, len(texts), BATCH_SIZE):
            answers += self._predict_batch(list(texts[start : start + BATCH_SIZE]))
        return answers

    def _predict_batch(self, texts: list[str]) -> list[Prediction]:
        cut = [len(ids) for ids in self.tokenizer(texts)["input_ids"]]
        inputs = self.tokenizer(
            texts, truncation=True, padding=True, return_tensors="pt"
        )  # input_ids, attention_mask: [B, T]
        with torch.inference_mode():
            logits = self.net(**inputs).logits  # [B, C]
        limit = self.tokenizer.model_max_length
        return [
            Prediction(
                label=self.labels[int(row.argmax())],
                scores=dict(zip(self.labels, row.tolist(), strict=True)),
                truncated=length > limit,
            )
            for row, length in zip(logits.softmax(dim=1), cut, strict=True)
        ]


def _find_export(folder: pathlib.Path) -> pathlib.Path:
    """The export itself, its files verified."""
    export = folder / "export" if (folder / "export").is_dir() else folder
    if not (export / checkpoint.MANIFEST).is_file():
        runs = sorted(pathlib.Path("runs").glob("*/export"))
        known = f"--model {runs[-1].parent}" if runs else "train one: see the README"
        raise ModelError(
            f"{folder} holds no exported model.",
            why="a prediction needs weights, tokenizer and label names.",
            fix=known,
            page="predict",
        )
    try:
        listed = checkpoint.verify(export, nothing_else=False)["files"]
        # WHY: without this, a manifest that lists no weights would vouch for any.
        missing = sorted(NEEDED - listed.keys())
        if missing:
            raise CheckpointError(
                f"{export} lists no {missing}.",
                why="unlisted files could be anything.",
                fix="export again.",
                page="predict",
            )
    except CheckpointError as error:
        raise ModelError(
            error.what,
            why="its answers would not be those that were measured.",
            fix="export again, or fetch the folder again.",
            page="predict",
        ) from error
    return export
