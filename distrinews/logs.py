"""Placeholder: TensorBoard."""

from __future__ import annotations

import pathlib

__all__ = ["TensorBoard"]


class TensorBoard:
    """Write events."""

    def __init__(self, folder: pathlib.Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def add(self, step: int, numbers: dict[str, float]) -> None:
        """Add."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Close."""
        self._writer.close()
