"""Accuracy, F1 and confusion matrix over all ranks: counts that are added up first.

The mean of the ranks' accuracies is not the accuracy: ranks may hold different numbers
of rows. Counts and sums can be added; ratios are taken at the end, from the totals.

Not here: dealing rows to ranks (`distrinews.sharding`), running the model
(`distrinews.metrics.evaluation`).

Letters used for shapes: C = classes, B = rows of a batch.
Guide: understand/metrics-over-ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from distrinews import dist
from distrinews.errors import DataError

__all__ = ["ClassificationMetrics", "global_mean"]

# Equal steps of confidence, as in Guo et al. 2017, On Calibration of Modern Neural
# Networks, section 3.
CALIBRATION_BINS = 15
CONFIDENCE_UNITS = 2**32


def global_mean(total: float, *, count: int) -> float:
    """Take the mean over the rows of all ranks.

    Collective: every rank must call it.

    Args:
        total: The sum over this rank's rows.
        count: How many rows that were; may differ between ranks.

    Returns:
        (sum of totals) / (sum of counts), the same on every rank.

    Raises:
        DataError: No rank had a row. On every rank.

    Note:
        Cost: two all-reduces of 8 bytes.

    Examples:
        >>> global_mean(6.0, count=4)
        1.5
    """
    rows = dist.sum_over_ranks(count)
    total = dist.sum_over_ranks(float(total))
    if rows == 0:
        raise DataError(
            "a mean over 0 rows was asked for.",
            why="0 / 0 is no number.",
            fix="--test-rows 1 or more.",
            page="bad-data",
        )
    return total / rows


class ClassificationMetrics:
    """Counts of what a model answered; everything else is computed from them.

    Args:
        class_names: What the C classes are called, in the order of their numbers.

    Attributes:
        confusion: int64 [C, C]; row = the true class, column = the predicted one.
        loss_sum: Sum of the rows' cross-entropies, in nats.
        bins: int64 [2, 15]; for each step of confidence how many rows were right, and
            the sum of their confidences in units of 2**-32.

    Examples:
        >>> counts = ClassificationMetrics(("ham", "spam"))
        >>> counts.update(torch.eye(2)[[0, 1, 0]], torch.tensor([0, 1, 1]))
        >>> counts.num_rows, round(counts.accuracy, 3)
        (3, 0.667)
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        num_classes = len(self.class_names)
        self.confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.loss_sum = 0.0
        self.bins = torch.zeros(2, CALIBRATION_BINS, dtype=torch.int64)

    def update(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Count one batch. Local: no rank waits for another.

        Args:
            logits: [B, C].
            labels: [B], the true classes.
        """
        predicted = logits.argmax(dim=1).cpu()
        num_classes = len(self.class_names)
        # One number per (true, predicted).
        pairs = labels.cpu() * num_classes + predicted
        counts = torch.bincount(pairs, minlength=num_classes**2)
        self.confusion += counts.reshape(num_classes, num_classes)
        # WHY float64: the sum must not depend on how rows were dealt to ranks.
        losses = F.cross_entropy(logits.double(), labels, reduction="sum")
        self.loss_sum += losses.item()
        self._update_calibration_bins(
            logits.double().softmax(dim=1).cpu(), labels.cpu()
        )

    def _update_calibration_bins(
        self, probabilities: torch.Tensor, labels: torch.Tensor
    ) -> None:
        """Sort the rows into bins by how sure the model was of its answer."""
        confidence, predicted = probabilities.max(dim=1)  # [B], [B]
        # Bins are open below and closed above: 1.0 falls into the last one.
        bin_index = (confidence * CALIBRATION_BINS).ceil().long() - 1
        bin_index.clamp_(0, CALIBRATION_BINS - 1)
        # WHY whole numbers: their sum does not depend on the order, so any number of
        # ranks comes to the same bits.
        self.bins[0].index_add_(0, bin_index, (predicted == labels).long())
        self.bins[1].index_add_(0, bin_index, (confidence * CONFIDENCE_UNITS).long())

    def all_reduce(self) -> ClassificationMetrics:
        """Add up the counts of all ranks. This object is not changed.

        Collective: every rank must call it.

        Returns:
            The counts of all rows, the same on every rank.

        Note:
            Cost: three all-reduces, of 8 * C * C, of 8 and of 240 bytes.
        """
        total = ClassificationMetrics(self.class_names)
        total.confusion = dist.sum_over_ranks(self.confusion)
        total.loss_sum = dist.sum_over_ranks(self.loss_sum)
        total.bins = dist.sum_over_ranks(self.bins)
        return total

    @property
    def num_rows(self) -> int:
        """How many rows were counted."""
        return int(self.confusion.sum())

    @property
    def loss(self) -> float:
        """Mean cross-entropy per row, in nats."""
        return self.loss_sum / max(1, self.num_rows)

    @property
    def accuracy(self) -> float:
        """Share of rows whose class was predicted correctly, 0 to 1."""
        return int(self.confusion.diagonal().sum()) / max(1, self.num_rows)

    @property
    def precision_by_class(self) -> dict[str, float]:
        """Of the rows that were predicted to be of a class, the share that is."""
        return self._correct_share_of(self.confusion.sum(dim=0))

    @property
    def recall_by_class(self) -> dict[str, float]:
        """Of the rows of a class, the share that was predicted to be of it."""
        return self._correct_share_of(self.confusion.sum(dim=1))

    def _correct_share_of(self, totals: torch.Tensor) -> dict[str, float]:
        # A class without rows counts as 0, as in scikit-learn.
        shares = (self.confusion.diagonal().double() / totals.clamp(min=1)).tolist()
        return dict(zip(self.class_names, shares, strict=True))

    @property
    def f1_by_class(self) -> dict[str, float]:
        """F1 of each class: 2 * correct / (rows of the class + predictions of it)."""
        correct = self.confusion.diagonal().double()
        occurrences = self.confusion.sum(dim=1) + self.confusion.sum(dim=0)
        # A class that neither occurs nor is predicted counts as 0, as in scikit-learn.
        scores = (2 * correct / occurrences.clamp(min=1)).tolist()
        return dict(zip(self.class_names, scores, strict=True))

    @property
    def macro_f1(self) -> float:
        """Mean of the classes' F1: each class weighs the same, also a rare one."""
        return sum(self.f1_by_class.values()) / len(self.class_names)

    @property
    def calibration_error(self) -> float:
        """How far confidence and accuracy are apart, 0 to 1: 0 is honest.

        The rows whose answer had a probability around 0.8 should be right in 8 of 10
        cases. Per bin the distance between mean confidence and accuracy, weighed by
        its rows ("expected calibration error").
        """
        correct, confidence = self.bins[0].double(), self.bins[1] / CONFIDENCE_UNITS
        return float((correct - confidence).abs().sum()) / max(1, self.num_rows)

    def as_dict(self) -> dict[str, object]:
        """List the figures under their names, as plain values that JSON can hold.

        Returns:
            Rows, loss, accuracy, macro_f1, calibration error; precision, recall and F1
            by class; confusion matrix.
        """
        return {
            "rows": self.num_rows,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "calibration_error": self.calibration_error,
            "precision_by_class": self.precision_by_class,
            "recall_by_class": self.recall_by_class,
            "f1_by_class": self.f1_by_class,
            "confusion_matrix": self.confusion.tolist(),
        }
