"""Proofs for the pages on DDP, averaging, rings and accumulation: their numbers."""

from __future__ import annotations

import re

import numbers_concepts1
import pytest
import torch
from helpers.site_tables import cells
from torch import nn

from distrinews.model import sizes

slow = pytest.mark.slow  # the models' sizes come from transformers


def share_of_a_row(counts: list[int], factors: list[float]) -> list[float]:
    """How often a row of each rank counts, as autograd says it."""
    weight = torch.zeros(1, requires_grad=True)
    shares = []
    for counted_rank in range(len(counts)):
        # One row of `counted_rank` has the gradient 1, all others have 0.
        losses = []
        for rank, count in enumerate(counts):
            rows = torch.zeros(count)
            rows[0] = float(rank == counted_rank)
            losses.append(factors[rank] * (weight * rows).mean())
        average = sum(losses) / len(counts)  # what DDP does
        assert isinstance(average, torch.Tensor)
        [gradient] = torch.autograd.grad(average, weight)
        shares.append(gradient.item() * sum(counts))
    return shares


def test_a_row_counts_as_often_as_the_table_says_and_the_cure_cures() -> None:
    table = cells(numbers_concepts1.uneven_weights())
    assert len(table) == 3
    for counts, *often, cure in table:
        rows = [int(count) for count in counts.split(", ")]
        plain = share_of_a_row(rows, [1.0, 1.0])
        shown = [float(text.split()[1]) for text in often]
        assert shown == pytest.approx(plain, abs=0.005)
        factors = [float(f) for f in cure.removeprefix("loss times ").split(", ")]
        assert share_of_a_row(rows, factors) == pytest.approx([1.0, 1.0])
        # Negative control: without the cure only equal counts are fair.
        assert (plain == pytest.approx([1.0, 1.0])) == (rows[0] == rows[1])


@slow
def test_a_rank_of_the_ring_sends_what_its_messages_add_up_to() -> None:
    size = sum(parameter.nbytes for parameter in sizes.build("minilm").parameters())
    for ranks, messages, minilm, _, middle, _ in cells(numbers_concepts1.ring_bytes()):
        world_size = int(ranks)
        # Each message is a chunk; there are N - 1 in each of two phases.
        assert int(messages) == len([*range(world_size - 1)] * 2)
        want = int(messages) * (size / world_size) / 1e6
        assert minilm == f"{want:.1f} MB"
        others = sum(size for rank in range(world_size) if rank)
        assert middle == f"{others / 1e6:,.1f} MB"


@slow
def test_the_table_of_buffers_lists_what_the_models_hold() -> None:
    net = sizes.build("minilm")
    names = {type(module).__name__ for module in net.modules()}
    assert not any("BatchNorm" in name for name in names)
    row = cells(numbers_concepts1.buffers_and_norms())[0]
    assert row[1] == "0"
    assert int(row[2]) == sum(isinstance(m, nn.LayerNorm) for m in net.modules())
    # int64, one per place
    assert row[4] == f"{8 * sizes.MAX_LENGTH:,} bytes"


@slow
def test_no_more_is_exposed_than_travels() -> None:
    for _, travel, exposed, step in cells(numbers_concepts1.ddp_on_two_t4()):
        low, high, hidden_low, hidden_high, least, most = (
            float(number)
            for cell in (travel, exposed, step)
            for number in re.findall(r"[\d.]+", cell)
        )
        assert 0 < hidden_low < low
        assert hidden_high < high
        assert hidden_high < most
        assert hidden_low < least
