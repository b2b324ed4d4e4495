"""The log of a run: a JSON object per line, events for TensorBoard.

What is written stays, line by line, whatever happens to the run later. A resumed run
continues its log at the step of its checkpoint.

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

__all__ = ["RunLog", "TensorBoard"]


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
        self._tensorboard: TensorBoard | None = None
        if tensorboard and ranks.is_main:
            self._tensorboard = TensorBoard(folder / "tensorboard")

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
                if self._tensorboard is not None:
                    self._tensorboard.add(record["step"], _scalars(record))

    def truncate_after(self, step: int) -> None:
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
                    text = "".join(f"{line}\n" for line in kept)
                    draft.write_text(text, encoding="utf-8", newline="\n")

    def losses(self, *, max_points: int) -> list[tuple[int, float]]:
        """Read back the curve of the training loss; on rank 0, which has the file.

        Args:
            max_points: Of a longer log, evenly spaced lines and the last one.

        Returns:
            Step and mean loss over all ranks, by rising step.
        """
        # WHY so careful: a run must not lose its export to a line of its log.
        exists = self.path.exists()
        lines = self.path.read_text(encoding="utf-8").splitlines() if exists else []
        records = [json.loads(line) for line in lines if _step_of(line) < float("inf")]
        points = [(r["step"], round(r["loss"], 4)) for r in records if "loss" in r]
        stride = -(-len(points) // max_points) or 1
        # From the end, so that the last point is one of them.
        return points[::-stride][::-1]

    def close(self) -> None:
        """Write out what TensorBoard still holds back."""
        if self._tensorboard is not None:
            self._tensorboard.close()


def _step_of(line: str) -> float:
    """The step of a line; infinite for one that was cut off by a kill."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _scalars(record: dict[str, Any]) -> dict[str, float]:
    """The numbers in a record, for TensorBoard; nested names are joined by a slash."""
    scalars: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, dict):
            inner = _scalars(value)
            scalars |= {f"{name}/{key}": scalar for key, scalar in inner.items()}
        elif isinstance(value, int | float) and name != "step":
            scalars[name] = float(value)
    return scalars


class TensorBoard:
    """Writes numbers as events; `tensorboard --logdir runs` draws them.

    Only rank 0 should have one: the events of two writers in one folder mix.

    Args:
        folder: Where the events go.

    Raises:
        ModuleNotFoundError: The optional extra is missing. `settings` checks it before
            any rank starts.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        # WHY late: the import costs half a second, and most runs do without.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def add(self, step: int, scalars: dict[str, float]) -> None:
        """Add one point to each curve.

        Args:
            step: Where on the horizontal axis.
            scalars: Curve -> value. A name with a slash groups: "validation/loss".
        """
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        # WHY each time: a run that is killed should have been drawn up to its end.
        self._writer.flush()

    def close(self) -> None:
        """Write out what is still held back."""
        self._writer.close()
