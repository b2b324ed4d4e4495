"""Compute in the last layer only what the classifier reads: the first token.

DistilBERT judges a text by its first token. In every layer but the last, the other
tokens matter, because the next layer looks at them. What the last layer computes of
them is thrown away: five sixths of its multiplications, a seventh of a 6-layer model's,
forward and backward.

Promise: the same weights under the same names, the same logits and gradients to
rounding, in less time.

Not here: the model (`distrinews.model`).

Letters used for shapes: B = rows, T = tokens, D = width, H = heads.
Guide: benchmarks/peers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from distrinews.errors import ModelError

if TYPE_CHECKING:
    from transformers import DistilBertForSequenceClassification

__all__ = ["ClsTokenBlock", "compute_cls_token_only"]


def compute_cls_token_only(net: DistilBertForSequenceClassification) -> None:
    """Replace a classifier's last layer by one that computes only the first token.

    Why: nothing else of that layer reaches the logits, so nothing else has a gradient.
    Keys and values still come from all tokens.

    Args:
        net: The classifier; changed in place. Its parameters stay the same objects
            with the same names, so checkpoints and exports are the same. A second call
            changes nothing.

    Raises:
        ModelError: Its attention is neither torch's own nor the plain one. On this rank
            only.

    Note:
        `net(...)` no longer offers hidden states of the last layer but for the first
        token.

    Source: our measurements, site_docs/benchmarks/results/peers.json.

    Examples:
        >>> from distrinews import model
        >>> net = model.build("tiny", dropout=0.0, vocabulary_size=100)
        >>> ids = torch.arange(10).view(2, 5)
        >>> before = net(ids).logits
        >>> compute_cls_token_only(net)
        >>> bool(torch.allclose(net(ids).logits, before, atol=1e-6))
        True
        >>> net.distilbert(ids)[0].shape
        torch.Size([2, 1, 64])
    """
    implementation = net.config._attn_implementation
    if implementation not in {"sdpa", "eager"}:
        raise ModelError(
            f"the model's attention is {implementation!r}.",
            why="its mask has another form than the one that is read here.",
            fix='from_pretrained(..., attn_implementation="sdpa")',
            page="preset",
        )
    layers = net.distilbert.transformer.layer
    if not isinstance(layers[-1], ClsTokenBlock):
        layers[-1] = ClsTokenBlock(layers[-1])


class ClsTokenBlock(nn.Module):
    """A DistilBERT layer that answers for the first token alone.

    Args:
        block: The layer whose parts it takes over.
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.attention: Any = block.attention
        self.sa_layer_norm: Any = block.sa_layer_norm
        self.ffn: Any = block.ffn
        self.output_layer_norm: Any = block.output_layer_norm
        self.train(block.training)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **_: Any,
    ) -> torch.Tensor:
        """Compute the layer for the first token.

        Args:
            hidden_states: What the layer before gave [B, T, D].
            attention_mask: Which tokens may be looked at [B, 1, T, T]; None for all.
            **_: What transformers passes to every layer; not used.

        Returns:
            The first token's state [B, 1, D].
        """
        attention = self.attention
        num_rows, _num_tokens, width = hidden_states.shape
        cls_state = hidden_states[:, :1]  # [B, 1, D]
        head_shape = (num_rows, -1, attention.n_heads, attention.attention_head_size)
        query = (
            attention.q_lin(cls_state).view(head_shape).transpose(1, 2)
        )  # [B, H, 1, D / H]
        key = attention.k_lin(hidden_states).view(head_shape).transpose(1, 2)
        value = attention.v_lin(hidden_states).view(head_shape).transpose(1, 2)
        context = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if attention_mask is None else attention_mask[:, :, :1],
            dropout_p=attention.dropout.p if self.training else 0.0,
        )
        projected = attention.out_lin(
            context.transpose(1, 2).reshape(num_rows, 1, width)
        )
        attended: torch.Tensor = self.sa_layer_norm(projected + cls_state)
        state: torch.Tensor = self.output_layer_norm(self.ffn(attended) + attended)
        return state
