"""Proofs for distrinews.course.tensor_memory: bytes that live at once, by hand."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from distrinews.course.tensor_memory import TensorWatch

ROWS, CLASSES = 10, 50
LOGITS = 4 * ROWS * CLASSES  # bytes of one batch's, in float32


def test_views_and_work_in_place_take_no_memory() -> None:
    with TensorWatch() as watch:
        values = torch.zeros(100)  # 400 bytes
        values.view(10, 10).t()[0].add_(1.0)
        values.mul_(2.0)
    assert watch.peak_bytes == watch.bytes == 400
    del values
    assert watch.bytes == 0


def test_what_was_there_before_does_not_count() -> None:
    before = torch.zeros(1000)
    with TensorWatch() as watch:
        before.add_(1.0)
        before.view(10, 100)
        after = before[:100] * 2.0  # 400 bytes of its own
    assert watch.peak_bytes == 400 == after.nbytes


def test_copies_count_while_both_live() -> None:
    with TensorWatch() as watch:
        first = torch.zeros(100)
        second = first.clone()
        del first
        third = second.double()  # 800 bytes beside the 400 of `second`
    assert watch.peak_bytes == 400 + 800 == second.nbytes + third.nbytes


def evaluate(*, grad: bool, keep: bool, num_batches: int) -> int:
    net = nn.Linear(4, CLASSES)
    batches = [torch.randn(ROWS, 4) for _ in range(num_batches)]
    labels = torch.zeros(ROWS, dtype=torch.int64)
    held = []
    total = torch.zeros(())
    with TensorWatch() as watch, torch.set_grad_enabled(grad):
        for inputs in batches:
            logits = net(inputs)
            total = total + F.cross_entropy(logits, labels)
            if keep:
                held.append(logits)
    return watch.peak_bytes


def test_a_loop_that_keeps_nothing_needs_as_much_for_many_batches_as_for_few() -> None:
    few, many = (evaluate(grad=False, keep=False, num_batches=n) for n in (5, 50))
    assert few == many < 5 * LOGITS


def test_kept_logits_and_kept_graphs_grow_with_the_batches() -> None:
    """Negative control: and autograd's tensors are seen, although no variable holds."""
    for grad, keep in ((False, True), (True, False)):
        peak = evaluate(grad=grad, keep=keep, num_batches=50)
        assert peak >= 50 * LOGITS
