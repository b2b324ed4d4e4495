"""Say which rank speaks, and draw a run in TensorBoard.

Promise: with `prefix_with_rank` every line that goes through Python's `logging` starts
with the rank that wrote it. Without, lines of several processes mix on one terminal and
nobody can tell whose they are.

Not here: the numbers of a run (`distrinews.training.runlog` writes them line by line), progress
bars (`distrinews.training.runs`).

Guide: understand/failures.
"""

from __future__ import annotations

import logging
import pathlib

from distrinews.dist import Ranks

__all__ = ["TensorBoard", "prefix_with_rank"]


def prefix_with_rank(ranks: Ranks, *, level: int = logging.INFO) -> None:
    """Let every line of `logging` start with its rank, on standard error.

    Rank 0 logs from `level` on. The others log from WARNING on: what all ranks do alike
    need not be read W times, but a warning of rank 3 must not be lost.

    Args:
        ranks: Who this process is.
        level: What rank 0 logs, such as `logging.DEBUG`.

    Note:
        Local: no rank waits for another. Replaces the root logger's handlers, as
        `logging.basicConfig(force=True)` does.

    Examples:
        >>> import torch
        >>> alone = Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
        >>> prefix_with_rank(alone)
        >>> logging.getLogger("distrinews").isEnabledFor(logging.INFO)
        True
    """
    logging.basicConfig(
        level=level if ranks.is_main else max(level, logging.WARNING),
        # WHY the time, too: clocks of one machine agree, and who came late is what one
        # looks for when ranks wait.
        format=f"%(asctime)s rank {ranks.rank}/{ranks.world_size} %(levelname)s "
        "%(name)s: %(message)s",
        force=True,
    )


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

    def add(self, step: int, numbers: dict[str, float]) -> None:
        """Add one point to each curve.

        Args:
            step: Where on the horizontal axis.
            numbers: Curve -> value. A name with a slash groups: "validation/loss".
        """
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        # WHY each time: a run that is killed should have been drawn up to its end.
        self._writer.flush()

    def close(self) -> None:
        """Write out what is still held back."""
        self._writer.close()
