"""The models' sizes: enough to time them and to predict them, without their weights.

Promise: a model of this size takes as long and sends as much as the preset of that
name; how long a step takes does not depend on what the weights are.

Not here: weights and tokenizers of models that are to learn something
(`distrinews.model.presets`).

Guide: benchmarks/cost-model.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from distrinews.model import cls_token

if TYPE_CHECKING:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

__all__ = ["SIZES", "Size", "build", "gradient_bytes"]

MAX_LENGTH = 512  # tokens, as the presets


@dataclass(frozen=True)
class Size:
    """What decides a DistilBERT's time and bytes.

    Attributes:
        layers: Of the transformer.
        dim: Numbers a token.
        hidden_dim: The same inside a layer's feed-forward part.
        heads: Of the attention.
        vocabulary: Rows of the word embedding.
    """

    layers: int
    dim: int
    hidden_dim: int
    heads: int
    vocabulary: int = 30522

    def step_flops(self, tokens: int) -> float:
        """Count the arithmetic of forward and backward, for each token.

        Args:
            tokens: T, of the row that it stands in.

        Returns:
            Floating-point operations.

        Source:
            Kaplan et al. 2020, section 2.1: 2 a weight in forward, twice that in
            backward; attention multiplies each token with T others, twice. The last
            layer needs keys and values of all tokens, the rest of the first one only.

        Examples:
            >>> Size(layers=1, dim=2, hidden_dim=4, heads=1).step_flops(10)
            86.4
        """
        layer = 4 * self.dim**2 + 2 * self.dim * self.hidden_dim
        keys_and_values = 2 * self.dim**2
        last_layer = keys_and_values + (layer - keys_and_values) / tokens
        attention = 2 * self.dim * ((self.layers - 1) * tokens + 1)
        return 6.0 * ((self.layers - 1) * layer + last_layer + attention)

    def config(self, **options: Any) -> DistilBertConfig:
        """Put the size into a configuration of transformers.

        Args:
            **options: What is not a size, such as `dropout`.

        Returns:
            The configuration of a DistilBERT.

        Examples:
            >>> SIZES["tiny"].config(dropout=0.0).n_layers
            2
        """
        from transformers import DistilBertConfig

        return DistilBertConfig(
            vocab_size=self.vocabulary,
            max_position_embeddings=MAX_LENGTH,
            n_layers=self.layers,
            dim=self.dim,
            hidden_dim=self.hidden_dim,
            n_heads=self.heads,
            **options,
        )


SIZES = {
    "tiny": Size(2, 64, 128, 2, 4000),
    "minilm": Size(6, 384, 1536, 12),
    # Of minilm's width, to see whether the prediction follows the depth.
    "minilm_3_layers": Size(3, 384, 1536, 12),
    "distilbert": Size(6, 768, 3072, 12),
}


def build(name: str) -> DistilBertForSequenceClassification:
    """Build a model of a size, with random weights.

    Args:
        name: In `SIZES`.

    Returns:
        The model, on torch's default device.

    Examples:
        >>> build("tiny")(torch.ones(2, 5, dtype=torch.long)).logits.shape
        torch.Size([2, 4])
    """
    from transformers import DistilBertForSequenceClassification

    config = SIZES[name].config(
        num_labels=4, dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0
    )
    net = DistilBertForSequenceClassification(config)
    cls_token.compute_cls_token_only(net)
    return net


@functools.cache
def gradient_bytes(name: str) -> tuple[int, ...]:
    """List the bytes of each parameter's gradient, in the order of the forward.

    Args:
        name: In `SIZES`.

    Returns:
        Bytes. The first is the word embedding's.

    Examples:
        >>> gradient_bytes("tiny")[0] == 4000 * 64 * 4
        True
    """
    with torch.device("meta"):  # shapes only: no memory, no time
        net = build(name)
    return tuple(parameter.nbytes for parameter in net.parameters())
