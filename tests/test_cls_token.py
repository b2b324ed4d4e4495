"""Proofs for cls_token: the same function, less work."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from distrinews import model
from distrinews.errors import ModelError
from distrinews.model import cls_token

IDS = torch.arange(60).view(4, 15) % 90 + 5
MASK = torch.ones_like(IDS)
MASK[1, 9:], MASK[3, 2:] = 0, 0
LABELS = torch.tensor([0, 1, 2, 3])


def classifiers() -> tuple[nn.Module, nn.Module]:
    """A model in double precision, and a copy that computes only the [CLS] token."""
    torch.manual_seed(0)
    cls_only = model.build("tiny", dropout=0.0, vocabulary_size=100).double()
    torch.manual_seed(0)
    net = model.build(
        "tiny", dropout=0.0, vocabulary_size=100, whole_last_layer=True
    ).double()
    return net, cls_only


def gradients(net: nn.Module, mask: torch.Tensor | None) -> dict[str, torch.Tensor]:
    net.zero_grad()
    logits = net(input_ids=IDS, attention_mask=mask).logits
    F.cross_entropy(logits, LABELS).backward()
    grads = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
    return grads | {"logits": logits.detach()}


def max_difference(
    left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]
) -> float:
    assert list(left) == list(right)
    return max(float((left[name] - right[name]).abs().max()) for name in left)


@pytest.mark.parametrize("mask", [MASK, None], ids=["padded", "no mask"])
def test_logits_and_all_gradients_stay_the_same(mask: torch.Tensor | None) -> None:
    net, cls_only = classifiers()
    full, reduced = gradients(net, mask), gradients(cls_only, mask)
    # WHY not exact: the same sums over other shapes of matrices; float64 leaves 1e-16.
    assert max_difference(full, reduced) < 1e-13


@pytest.mark.parametrize(
    "forgotten",
    [
        lambda right: lambda hidden, mask, **_: right(hidden),
        lambda right: lambda hidden, mask, **_: right(hidden[:, :1]),
    ],
    ids=["the mask", "the other tokens"],
)
def test_a_layer_that_forgets_a_part_is_found(
    forgotten: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control of the comparison above."""
    net, cls_only = classifiers()
    last = cls_only.distilbert.transformer.layer[-1]
    monkeypatch.setattr(last, "forward", forgotten(last.forward))
    assert max_difference(gradients(net, MASK), gradients(cls_only, MASK)) > 1e-6


def test_five_sixths_of_the_last_layers_multiplications_are_gone() -> None:
    # 4 x 15 tokens, 64 wide, 128 in between; q, k, v, out, lin1, lin2.
    linear = 2 * 60 * (4 * 64 * 64 + 2 * 64 * 128)
    kept = 2 * 60 * (2 * 64 * 64) + 2 * 4 * (2 * 64 * 64 + 2 * 64 * 128)
    attention, attention_kept = 2 * 2 * 4 * 15 * 15 * 64, 2 * 2 * 4 * 15 * 64
    counts = []
    for net in classifiers():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(input_ids=IDS, attention_mask=MASK)
        counts.append(counter.get_total_flops())
    # WHY approximately: the counter does not see the CPU's fused attention.
    saved = counts[0] - counts[1]
    possible = linear - kept
    assert possible <= saved <= possible + attention - attention_kept


def test_weights_keep_their_names_and_the_model_can_be_sent() -> None:
    net, cls_only = classifiers()
    assert list(net.state_dict()) == list(cls_only.state_dict())
    cls_token.compute_cls_token_only(cls_only)  # twice changes nothing
    again = pickle.loads(pickle.dumps(cls_only))
    assert max_difference(gradients(cls_only, MASK), gradients(again, MASK)) == 0.0


def test_another_attention_is_refused() -> None:
    net, _ = classifiers()
    net.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ModelError, match=r"(?s)flash_attention_2.*sdpa"):
        cls_token.compute_cls_token_only(net)
