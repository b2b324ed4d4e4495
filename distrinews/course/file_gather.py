"""Let ranks meet through files, whatever state their process group is in.

Promise: a version of a lab or a solution of an exercise may call too many collectives
or too few. Ranks that meet here afterwards do not use the group, so what they compare
cannot get mixed up with what the version still sends.

Not here: collectives of a group that is in step (`distrinews.dist`).

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
        folder: All ranks may write here, and nobody else.
        name: Of this meeting; each name can be used once.

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
    # WHY a rename: the others must never read half of it.
    draft = paths[ranks.rank].with_suffix(".draft")
    draft.write_bytes(pickle.dumps(value))
    draft.rename(paths[ranks.rank])
    wait_for_other_ranks(paths)
    # Only this process and its siblings wrote here, a moment ago.
    return [pickle.loads(path.read_bytes()) for path in paths]


# The name is printed: a hang's message says that a rank is "in" this function.
def wait_for_other_ranks(paths: Sequence[pathlib.Path]) -> None:
    """Wait until every rank has written its file, for ever if one does not.

    It ends all the same: the launcher ends all ranks when one has failed.

    Args:
        paths: A file for each rank [W].

    Examples:
        >>> wait_for_other_ranks([pathlib.Path()])
    """
    while not all(path.exists() for path in paths):
        time.sleep(POLL_S)
