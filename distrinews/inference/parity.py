"""Compare an engine with torch float32: labels, scores, accuracy, size, speed.

Promise: both engines answer the same texts in the same process, taking turns; what is
reported is what was counted.

Not here: which engine is taken (`distrinews.inference.classifier.open_best`).

Letters used for shapes: N = texts, C = classes.
Guide: understand/training-and-inference.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distrinews.data.sources import Row
from distrinews.inference import engines, golden, onnx_export
from distrinews.inference.bundle import WEIGHTS, Bundle
from distrinews.inference.classifier import Classifier, Encoded

__all__ = ["Parity", "label_flips_when_batched", "measure"]

Scores = npt.NDArray[np.float64]
CHUNK = 256  # texts that one engine answers before it is the other's turn
RANDOM_BATCH_SIZE = 32


@dataclass(frozen=True)
class Parity:
    """How an engine compares with the reference, on the same N texts.

    Attributes:
        engine: Its name.
        num_texts: N.
        label_agreement: Share of texts with the same label.
        largest_difference: The largest difference of a probability.
        mean_difference: The mean difference of a probability.
        accuracy: Share of right labels, the engine's.
        reference_accuracy: The reference's.
        label_flips_in_company: Share of texts whose label in a random batch of 32
            differs from their label alone.
        largest_difference_in_company: The largest such difference of a probability.
        golden_difference: On the golden rows, from the recorded scores; None where the
            export has none.
        tolerance: What is allowed there.
        num_bytes: Of the engine's file.
        reference_bytes: Of the weights as exported.
        ms_per_text: Wall clock, tokens given, the engine's.
        reference_ms_per_text: The reference's.
    """

    engine: str
    num_texts: int
    label_agreement: float
    largest_difference: float
    mean_difference: float
    accuracy: float
    reference_accuracy: float
    # "in_company" (in a random batch) stays: committed records have these keys.
    label_flips_in_company: float
    largest_difference_in_company: float
    golden_difference: float | None
    tolerance: float
    num_bytes: int
    reference_bytes: int
    ms_per_text: float
    reference_ms_per_text: float

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain values."""
        return asdict(self)

    def as_table(self) -> str:
        """The figures as a table in Markdown, readable in a console, too."""
        rows = [
            ("figure", self.engine, engines.REFERENCE),
            ("---", "---:", "---:"),
            ("accuracy", f"{self.accuracy:.4f}", f"{self.reference_accuracy:.4f}"),
            (
                "file",
                f"{self.num_bytes / 1e6:.1f} MB",
                f"{self.reference_bytes / 1e6:.1f} MB",
            ),
            (
                "per text",
                f"{self.ms_per_text:.2f} ms",
                f"{self.reference_ms_per_text:.2f} ms",
            ),
            ("same label", f"{self.label_agreement:.2%}", ""),
            ("largest difference of a score", f"{self.largest_difference:.4f}", ""),
            ("label differs in a batch", f"{self.label_flips_in_company:.2%}", ""),
        ]
        return "\n".join(f"| {a:30} | {b:>14} | {c:>14} |" for a, b, c in rows)


def measure(bundle: Bundle, classifier: Classifier, *, rows: Sequence[Row]) -> Parity:
    """Let an engine and the reference answer the same texts.

    Args:
        bundle: The export.
        classifier: It, opened with the engine to judge.
        rows: N texts with their labels.

    Returns:
        The comparison.

    Raises:
        ModelError: A text cannot be judged.
    """
    reference = Classifier(bundle)
    items = [classifier.encode(row.text) for row in rows]
    (scores, seconds), (reference_scores, reference_seconds) = _take_turns(
        [classifier, reference], items
    )
    labels = np.array([row.label for row in rows])
    differences = abs(scores - reference_scores)  # [N, C]
    flips, difference_when_batched = label_flips_when_batched(
        classifier, items[: 4 * CHUNK]
    )
    engine_name = classifier.engine_name
    file = bundle.folder / WEIGHTS
    if engine_name != engines.REFERENCE:
        file = onnx_export.ensure(bundle, engine_name)
    return Parity(
        engine=engine_name,
        num_texts=len(rows),
        label_agreement=float((scores.argmax(1) == reference_scores.argmax(1)).mean()),
        largest_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
        accuracy=float((scores.argmax(1) == labels).mean()),
        reference_accuracy=float((reference_scores.argmax(1) == labels).mean()),
        label_flips_in_company=flips,
        largest_difference_in_company=difference_when_batched,
        golden_difference=_golden_difference(bundle, classifier),
        tolerance=classifier.tolerance,
        num_bytes=file.stat().st_size,
        reference_bytes=(bundle.folder / WEIGHTS).stat().st_size,
        ms_per_text=1e3 * seconds / len(rows),
        reference_ms_per_text=1e3 * reference_seconds / len(rows),
    )


def _golden_difference(bundle: Bundle, classifier: Classifier) -> float | None:
    recorded = golden.read(bundle)
    if recorded is None:
        return None
    answers = classifier.predict(recorded.texts)
    return recorded.largest_difference([list(a.scores.values()) for a in answers])


def label_flips_when_batched(
    classifier: Classifier, items: Sequence[Encoded]
) -> tuple[float, float]:
    """Count the labels that change when texts share a batch.

    Args:
        classifier: Any engine.
        items: N encoded texts.

    Returns:
        Share of texts whose label differs, and the largest difference of a score,
        between each text alone and in a random batch.
    """
    alone = np.concatenate([_scores(classifier, [item]) for item in items])
    order = random.Random(0).sample(range(len(items)), len(items))
    batched = np.zeros_like(alone)
    for start in range(0, len(order), RANDOM_BATCH_SIZE):
        batch = order[start : start + RANDOM_BATCH_SIZE]
        batched[batch] = _scores(classifier, [items[index] for index in batch])
    flips = float((alone.argmax(1) != batched.argmax(1)).mean())
    return flips, float(abs(alone - batched).max())


def _take_turns(
    classifiers: Sequence[Classifier], items: Sequence[Encoded]
) -> list[tuple[Scores, float]]:
    """Scores [N, C] and seconds of each, a chunk of texts at a time."""
    scores: list[list[Scores]] = [[] for _ in classifiers]
    seconds = [0.0 for _ in classifiers]
    for classifier in classifiers:
        classifier.warm_up()
    for start in range(0, len(items), CHUNK):
        for index, classifier in enumerate(classifiers):
            began_s = time.perf_counter()
            scores[index].append(_scores(classifier, items[start : start + CHUNK]))
            seconds[index] += time.perf_counter() - began_s
    return [(np.concatenate(f), s) for f, s in zip(scores, seconds, strict=True)]


def _scores(classifier: Classifier, items: Sequence[Encoded]) -> Scores:
    answers = classifier.predict_encoded(items)
    return np.array([list(answer.scores.values()) for answer in answers])
