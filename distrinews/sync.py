"""Placeholder."""

from __future__ import annotations

import contextlib

from torch import nn

__all__ = ["sync_if"]


def sync_if(
    condition: bool, *, replica: nn.Module
) -> contextlib.AbstractContextManager[None]:
    """Let gradients meet in this block, or let them add up locally.

    Args:
        condition: Whether this block's backward is the one whose gradients meet.
        replica: A DDP wrapper, or a bare model in one process.

    Returns:
        A context manager; it must hold forward and backward.

    Examples:
        >>> with sync_if(False, replica=nn.Linear(1, 1)):
        ...     pass  # one process: nobody to meet
    """
    no_sync = getattr(replica, "no_sync", contextlib.nullcontext)
    held_back: contextlib.AbstractContextManager[None] = no_sync()
    return contextlib.nullcontext() if condition else held_back
