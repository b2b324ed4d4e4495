"""The labs' model of 58 weights and their 16 rows, always the same.

Every rank and every run has the same weights and rows, so that the right result of a
lab can be computed beforehand, in one process.

Re-exported by `distrinews.course.labs` under the same names. Not here: what a lab is.

Letters used for shapes: N = rows.
Guide: learn/labs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from distrinews import dist

__all__ = ["gradient_norm", "loss_on", "own_rows", "small_data", "small_model"]

NUM_ROWS = 16


def small_model() -> nn.Sequential:
    """Build the labs' model: 58 weights, the same on every rank and in every run.

    Returns:
        A model that maps [N, 4] to logits [N, 2].

    Examples:
        >>> sum(param.numel() for param in small_model().parameters())
        58
    """
    # fork_rng, so that the caller's random state stays unchanged.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def own_rows(ranks: dist.Ranks) -> list[int]:
    """Split the 16 rows of `small_data` equally over the ranks.

    Args:
        ranks: This process.

    Returns:
        Row numbers.

    Examples:
        >>> len(own_rows(dist.current()))
        16
    """
    return list(range(NUM_ROWS))[ranks.rank :: ranks.world_size]


def loss_on(model: nn.Module, rows: Sequence[int]) -> torch.Tensor:
    """Compute the mean loss over some rows of `small_data`.

    Args:
        model: `small_model`, a wrapper around it, or another with its shapes.
        rows: Row numbers.

    Returns:
        A scalar.

    Examples:
        >>> loss_on(small_model(), [0, 1]).shape
        torch.Size([])
    """
    inputs, labels = small_data()
    return F.cross_entropy(model(inputs[list(rows)]), labels[list(rows)])


def gradient_norm(model: nn.Module) -> float:
    """Compute the norm of all gradients together, as this rank holds them.

    Args:
        model: After `backward()`.

    Returns:
        Their 2-norm.

    Examples:
        >>> gradient_norm(small_model())
        0.0
    """
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return float(nn.utils.get_total_norm(gradients)) if gradients else 0.0


def small_data(num_rows: int = NUM_ROWS) -> tuple[torch.Tensor, torch.Tensor]:
    """Make the labs' data: the same rows on every rank and in every run.

    Args:
        num_rows: N.

    Returns:
        Inputs [N, 4] and labels [N], 0 or 1.

    Examples:
        >>> [tensor.shape for tensor in small_data(3)]
        [torch.Size([3, 4]), torch.Size([3])]
    """
    inputs = torch.randn(num_rows, 4, generator=torch.Generator().manual_seed(1))
    return inputs, (inputs.sum(dim=1) > 0).long()
