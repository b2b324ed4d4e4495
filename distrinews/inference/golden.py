"""Golden rows: texts with the scores that torch float32 gave when a model was exported.

Promise: anyone who opens the export can see, in a tenth of a second, whether this
machine and this engine compute what was measured.

Not here: what is done about it (`distrinews.inference.classifier.open_best`).

Letters used for shapes: N = rows, C = classes.
Guide: understand/training-and-inference.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from distrinews.data import newswire
from distrinews.errors import ModelError
from distrinews.inference.bundle import Bundle
from distrinews.system import files

__all__ = ["FILE", "Golden", "mismatch", "read", "texts", "write"]

FILE = "golden.json"
NUM_ROWS = 16  # four of each class


@dataclass(frozen=True)
class Golden:
    """Texts and their recorded scores.

    Attributes:
        texts: N texts.
        scores: The reference's score of each class, N x C.
    """

    texts: list[str]
    scores: list[list[float]]

    def largest_difference(self, scores: Sequence[Sequence[float]]) -> float:
        """Say how far scores lie from the recorded ones.

        Args:
            scores: Of the same texts, N x C.

        Returns:
            The largest difference of a probability; nan if a score is no number.

        Examples:
            >>> Golden(["a"], [[0.25, 0.75]]).largest_difference([[0.5, 0.5]])
            0.25
            >>> Golden(["a"], [[0.25, 0.75]]).largest_difference([[0.25, float("nan")]])
            nan
        """
        # WHY not Python's max: it passes over a nan that is not the first.
        return float(np.abs(np.subtract(self.scores, scores)).max())


def texts() -> list[str]:
    """Write the golden texts: generated newswire, the same on every machine.

    Returns:
        NUM_ROWS texts, each class equally often.

    Examples:
        >>> len(texts())
        16
    """
    return [row.text for row in newswire.stories(NUM_ROWS, seed=0, split="test")]


def write(folder: pathlib.Path, golden: Golden) -> None:
    """Write golden rows into a folder that becomes an export.

    Args:
        folder: Where.
        golden: Texts and scores.
    """
    rows = [
        {"text": text, "scores": scores}
        for text, scores in zip(golden.texts, golden.scores, strict=True)
    ]
    files.write_json(folder / FILE, {"rows": rows})


def read(bundle: Bundle) -> Golden | None:
    """Read an export's golden rows.

    Args:
        bundle: The export, verified.

    Returns:
        The rows, or None where its manifest lists none: it was written before there
        were any.

    Raises:
        ModelError: They are there, and are none.
    """
    if FILE not in bundle.digests:
        return None
    reason = "not one score for each class"
    golden = Golden([], [])
    try:
        rows = files.parse_json(bundle.read(FILE))["rows"]
        golden = Golden(
            [str(row["text"]) for row in rows],
            [[float(score) for score in row["scores"]] for row in rows],
        )
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error)
    if {len(row) for row in golden.scores} != {len(bundle.labels)}:
        raise ModelError(
            f"the golden rows of {bundle.folder} cannot be read: {reason}.",
            why="an engine could not be checked on this machine.",
            fix="export again.",
            page="predict",
        )
    return golden


def mismatch(
    bundle: Bundle,
    answer: Callable[[Sequence[str]], Sequence[Sequence[float]]],
    *,
    tolerance: float,
) -> str | None:
    """Say in what an engine misses the recorded scores.

    Args:
        bundle: The export.
        answer: From N texts to their scores N x C.
        tolerance: How far a score may lie from the recorded one.

    Returns:
        The reason not to take it; None if there is none, or no golden rows.

    Raises:
        ModelError: The rows are there and cannot be read.
    """
    golden = read(bundle)
    if golden is None:
        return None
    differences = np.abs(np.subtract(golden.scores, answer(golden.texts)))  # [N, C]
    # WHY `not <=`: a score that is no number is no agreement.
    if (differences <= tolerance).all():
        return None
    # NaN counts as the largest here, too.
    row = int(differences.max(axis=1).argmax())
    return (
        f"its scores of golden row {row + 1} of {len(golden.texts)} lie up to "
        f"{differences[row].max():.3g} from the recorded ones; "
        f"{tolerance:g} is allowed."
    )
