"""The log of a run: one JSON object a line, and TensorBoard's events if asked for.

Promise: what is written stays, line by line, whatever happens to the run later; and a
run that is resumed continues its log where its checkpoint stands.

Not here: what the numbers mean (`distrinews.training.runs`, `distrinews.metrics`).

Guide: reference/run-folder.
"""

from __future__ import annotations

import json
import pathlib
import time
from typing import Any

from distrinews import dist
from distrinews.dist import Ranks
from distrinews.system import files
from distrinews.training import logs

__all__ = ["RunLog"]


class RunLog:
    """`metrics.jsonl` of a run; rank 0 writes it.

    Args:
        folder: The run's folder.
        ranks: Who this process is.
        tensorboard: Whether to write events, too.
    """

    def __init__(
        self, folder: pathlib.Path, ranks: Ranks, *, tensorboard: bool = False
    ) -> None:
        self.path, self.ranks = folder / "metrics.jsonl", ranks
        self._board: logs.TensorBoard | None = None
        if tensorboard and ranks.is_main:
            self._board = logs.TensorBoard(folder / "tensorboard")

    def write(self, record: dict[str, Any]) -> None:
        """Add a line.

        Collective: every rank must call it, so that a full disk is everybody's news.

        Args:
            record: Must hold `step`. Numbers in it are over all ranks.

        Raises:
            OutputError: It could not be written. On every rank.
        """
        with dist.raise_together():
            if self.ranks.is_main:
                files.append_line(self.path, record | {"time_s": round(time.time(), 3)})
                if self._board is not None:
                    self._board.add(record["step"], _numbers(record))

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps that will be taken again.

        Collective: every rank must call it.

        Args:
            step: The last step that counts: where the checkpoint stands.

        Raises:
            OutputError: The log could not be written. On every rank.
        """
        # WHY: a run that was killed logged steps beyond its newest checkpoint. Left in
        # place, the log would hold those steps twice.
        with dist.raise_together():
            if self.ranks.is_main and self.path.exists():
                lines = self.path.read_text(encoding="utf-8").splitlines()
                with files.atomic_file(self.path) as draft:
                    kept = [line for line in lines if _step_of(line) <= step]
                    draft.write_text("".join(f"{x}\n" for x in kept), encoding="utf-8")

    def close(self) -> None:
        """Write out what TensorBoard still holds back."""
        if self._board is not None:
            self._board.close()


def _step_of(line: str) -> float:
    """The step of a line; infinite for one that was cut off by a kill."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    """What of a record can be drawn: its numbers, nested names joined by a slash."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            inner = _numbers(value)
            found |= {f"{name}/{key}": number for key, number in inner.items()}
        elif isinstance(value, int | float) and name != "step":
            found[name] = float(value)
    return found
