"""Gather values of ranks through files, without their process group.

A version of a lab or a solution of an exercise may call too many or too few
collectives. Because this module does not use the group, its values cannot be mixed up
with messages that the version still sends.

Not here: collectives of ranks that are in step (`distrinews.dist`).

Letters used for shapes: W = number of ranks.
Guide: learn/labs.
"""

from __future__ import annotations

import pathlib
import pickle
import time
from collections.abc import Sequence
from typing import Any

from distrinews.dist import Ranks

__all__ = ["gather_objects", "wait_for_other_ranks"]

POLL_S = 0.005


def gather_objects(
    value: Any, ranks: Ranks, *, folder: pathlib.Path, name: str
) -> list[Any]:
    """Gather a value of each rank through files.

    Every rank must call it, with the same folder and name.

    Args:
        value: Anything that pickles.
        ranks: Who this process is.
        folder: A folder that only these ranks write to.
        name: The name of this call; use each name once.

    Returns:
        W values, by rank.

    Note:
        Cost: no collective; W small files.

    Examples:
        >>> import tempfile
        >>> from distrinews import dist
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     gather_objects(3, dist.current(), folder=pathlib.Path(folder), name="a")
        [3]
    """
    paths = [folder / f"{name}-{rank}.pickle" for rank in range(ranks.world_size)]
    # Rename it, so that the others never read half a file.
    draft = paths[ranks.rank].with_suffix(".draft")
    draft.write_bytes(pickle.dumps(value))
    draft.rename(paths[ranks.rank])
    wait_for_other_ranks(paths)
    # Only this process and its siblings have written these files.
    return [pickle.loads(path.read_bytes()) for path in paths]


# The name is printed: a hang's message says that a rank is "in" this function.
def wait_for_other_ranks(paths: Sequence[pathlib.Path]) -> None:
    """Wait until every rank has written its file, forever if one does not.

    It ends nevertheless, because the launcher ends all ranks when one has failed.

    Args:
        paths: A file for each rank [W].

    Examples:
        >>> wait_for_other_ranks([pathlib.Path()])
    """
    while not all(path.exists() for path in paths):
        time.sleep(POLL_S)
