"""Accuracy, F1 and confusion matrix over all ranks, from counts that are added up.

The mean of the ranks' accuracies is not the accuracy: ranks may hold different numbers
of rows. Add up counts and sums, and compute ratios at the end, from the totals.

Not here: splitting rows over ranks (`distrinews.sharding`), running the model
(`distrinews.metrics.evaluation`), real-valued and token targets
(`distrinews.metrics.sums`).

Letters used for shapes: C = classes, B = rows of a batch.
Guide: understand/metrics-over-ranks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from distrinews import dist
from distrinews.errors import DataError, SettingsError

__all__ = ["ClassificationMetrics", "global_mean"]

# Equal intervals of confidence, as in Guo et al. 2017, On Calibration of Modern Neural
# Networks, section 3.
CALIBRATION_BINS = 15
CONFIDENCE_UNITS = 2**32
# The largest confusion matrix: 8 MB. One of 10,000 classes would take 800 MB per rank.
MAX_MATRIX_CLASSES = 1000


def global_mean(total: float, *, count: float) -> float:
    """Compute the mean over the rows of all ranks.

    Collective: every rank must call it.

    Args:
        total: The sum over this rank's rows.
        count: The number of those rows, or the sum of their weights; may differ between
            ranks.

    Returns:
        (sum of totals) / (sum of counts), the same on every rank.

    Raises:
        DataError: No rank had a row. On every rank.

    Note:
        Cost: one all-reduce of 16 bytes.

    Examples:
        >>> global_mean(6.0, count=4)
        1.5
    """
    sums = torch.tensor([total, count], dtype=torch.float64)
    all_total, all_count = dist.sum_over_ranks(sums).tolist()
    if all_count == 0:
        raise DataError(
            "the mean was requested over 0 rows.",
            why="0 / 0 is not a number.",
            fix="give at least one rank a row.",
            page="bad-data",
        )
    return float(all_total / all_count)


class ClassificationMetrics:
    """Counts of a classifier's answers; all metrics are computed from them.

    Args:
        class_names: The names of the C classes, in the order of their numbers; at least
            two different names. Tested with up to 10,000.

    Attributes:
        class_names: The same.
        counts: int64 [C, C], the confusion matrix; above 1,000 classes int64 [3, C]:
            for each class, the correct rows, the rows and the predictions.
        loss_sum: Sum of the rows' cross-entropies, in nats.
        bins: int64 [2, 15]; for each interval of confidence, how many rows were
            correct, and the sum of the confidences in units of 2**-32.

    Raises:
        SettingsError: Fewer than two names, or a repeated name. The same on every rank.

    Examples:
        >>> counts = ClassificationMetrics(class_names=("ham", "spam"))
        >>> counts.update(torch.eye(2)[[0, 1, 0]], torch.tensor([0, 1, 1]))
        >>> counts.num_rows, round(counts.accuracy, 3)
        (3, 0.667)
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.class_names = tuple(class_names)
        num_classes = len(self.class_names)
        if isinstance(class_names, str) or not 2 <= num_classes == len({*class_names}):
            raise SettingsError(
                f"class_names must hold at least two different names, not "
                f"{class_names!r:.80}.",
                why="each column of the logits is one class, and figures are listed "
                "by its name.",
                fix='class_names=("ham", "spam")',
                page="evaluation",
            )
        num_lines = num_classes if num_classes <= MAX_MATRIX_CLASSES else 3
        self.counts = torch.zeros(num_lines, num_classes, dtype=torch.int64)
        self.loss_sum = 0.0
        self.bins = torch.zeros(2, CALIBRATION_BINS, dtype=torch.int64)

    def update(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Count one batch. Local: no rank waits for another.

        Args:
            logits: [B, C].
            labels: int [B], the true classes, 0 to C - 1.

        Raises:
            DataError: The shapes are wrong, or a label is not a class. On this rank
                only; inside `metrics.evaluate` on all ranks.
        """
        self._check(logits, labels)
        labels = labels.long()
        # float64, because the sum must not depend on how rows are split over ranks.
        losses = F.cross_entropy(logits.double(), labels, reduction="sum")
        self.loss_sum += losses.item()
        probabilities = logits.double().softmax(dim=1).cpu()
        labels, predicted = labels.cpu(), logits.argmax(dim=1).cpu()
        if self._has_matrix:
            one = torch.tensor(1)
            self.counts.index_put_((labels, predicted), one, accumulate=True)
        else:
            kinds = (labels[labels == predicted], labels, predicted)
            for line, classes in zip(self.counts, kinds, strict=True):
                line += torch.bincount(classes, minlength=len(line))
        self._update_calibration_bins(probabilities, labels)

    def _check(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Refuse input that cannot be counted, such as a column without a class."""
        num_classes = len(self.class_names)
        problem = ""
        if logits.ndim != 2 or logits.shape[1] != num_classes:
            problem = f"logits of shape {list(logits.shape)} for {num_classes} classes"
        elif labels.shape != logits.shape[:1]:
            problem = f"labels of shape {list(labels.shape)} for {len(logits)} rows"
        elif labels.is_floating_point() or labels.is_complex():
            problem = f"labels of type {labels.dtype}"
        elif len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
            low, high = int(labels.min()), int(labels.max())
            problem = f"labels from {low} to {high} for {num_classes} classes"
        if problem:
            raise DataError(
                f"{problem}.",
                why="the counts, and every metric computed from them, would be wrong.",
                fix="logits [B, C] and whole-number labels [B] from 0 to C - 1, with C "
                "class_names.",
                page="evaluation",
            )

    def _update_calibration_bins(
        self, probabilities: torch.Tensor, labels: torch.Tensor
    ) -> None:
        """Sort the rows into bins by the model's confidence in its answer."""
        confidence, predicted = probabilities.max(dim=1)  # [B], [B]
        confidence = (
            confidence.nan_to_num()
        )  # from a model that diverged; its loss is NaN
        # Bins are open below and closed above: 1.0 falls into the last one.
        bin_index = (confidence * CALIBRATION_BINS).ceil().long() - 1
        bin_index.clamp_(0, CALIBRATION_BINS - 1)
        # Integers, because their sum does not depend on the order: any number of ranks
        # gives the same bits.
        self.bins[0].index_add_(0, bin_index, (predicted == labels).long())
        self.bins[1].index_add_(0, bin_index, (confidence * CONFIDENCE_UNITS).long())

    def all_reduce(self) -> ClassificationMetrics:
        """Add up the counts of all ranks. This object is not changed.

        Collective: every rank must call it.

        Returns:
            The counts of all rows, the same on every rank.

        Note:
            Cost: three all-reduces, of 8 * C * C (above 1,000 classes 24 * C), of 8 and
            of 240 bytes.
        """
        total = ClassificationMetrics(self.class_names)
        total.counts = dist.sum_over_ranks(self.counts)
        total.loss_sum = dist.sum_over_ranks(self.loss_sum)
        total.bins = dist.sum_over_ranks(self.bins)
        return total

    @property
    def _has_matrix(self) -> bool:
        return len(self.class_names) <= MAX_MATRIX_CLASSES

    @property
    def confusion(self) -> torch.Tensor:
        """The confusion matrix, int64 [C, C]: row = true class, column = predicted.

        Raises:
            SettingsError: There are more than 1,000 classes. The same on every rank.
        """
        if not self._has_matrix:
            raise SettingsError(
                f"no confusion matrix is kept for {len(self.class_names)} classes.",
                why=f"it would take {8 * len(self.class_names) ** 2 / 1e6:.0f} MB "
                "on every rank.",
                fix="precision_by_class, recall_by_class and f1_by_class.",
                page="evaluation",
            )
        return self.counts

    @property
    def _class_counts(self) -> torch.Tensor:
        """For each class: correct rows, rows, predictions; int64 [3, C]."""
        if not self._has_matrix:
            return self.counts
        matrix = self.counts
        return torch.stack([matrix.diagonal(), matrix.sum(dim=1), matrix.sum(dim=0)])

    @property
    def num_rows(self) -> int:
        """How many rows were counted."""
        return int(self._class_counts[1].sum())

    @property
    def loss(self) -> float:
        """Mean cross-entropy per row, in nats."""
        return self.loss_sum / max(1, self.num_rows)

    @property
    def accuracy(self) -> float:
        """Fraction of rows whose class was predicted correctly, 0 to 1."""
        return int(self._class_counts[0].sum()) / max(1, self.num_rows)

    @property
    def precision_by_class(self) -> dict[str, float]:
        """Of the rows predicted as a class, the fraction that belongs to it."""
        correct, _, predictions = self._class_counts
        return self._by_class(correct, predictions)

    @property
    def recall_by_class(self) -> dict[str, float]:
        """Of the rows of a class, the fraction that was predicted as it."""
        correct, rows, _ = self._class_counts
        return self._by_class(correct, rows)

    @property
    def f1_by_class(self) -> dict[str, float]:
        """F1 of each class: 2 * correct / (rows of the class + predictions of it)."""
        correct, rows, predictions = self._class_counts
        return self._by_class(2 * correct, rows + predictions)

    def _by_class(self, part: torch.Tensor, whole: torch.Tensor) -> dict[str, float]:
        # 0 / 0, such as the precision of a class never predicted, counts as 0.
        shares = (part.double() / whole.clamp(min=1)).tolist()
        return dict(zip(self.class_names, shares, strict=True))

    @property
    def macro_f1(self) -> float:
        """Mean of the classes' F1: every class has the same weight, even a rare one.

        A class that neither occurs nor is predicted is left out, as in scikit-learn's
        `f1_score(true, predicted, average="macro")`.
        """
        _, rows, predictions = self._class_counts
        num_seen = int(((rows + predictions) > 0).sum())
        return sum(self.f1_by_class.values()) / max(1, num_seen)

    @property
    def calibration_error(self) -> float:
        """How far confidence and accuracy are apart, 0 to 1: 0 is perfectly calibrated.

        Answers with a probability around 0.8 should be correct in 8 of 10 cases. This
        is the distance between mean confidence and accuracy in each bin, weighted by
        the bin's rows ("expected calibration error").
        """
        correct, confidence = self.bins[0].double(), self.bins[1] / CONFIDENCE_UNITS
        return float((correct - confidence).abs().sum()) / max(1, self.num_rows)

    def as_dict(self) -> dict[str, object]:
        """Return the metrics by name, as plain values that JSON can hold.

        Returns:
            Rows, loss, accuracy, macro_f1, calibration error; precision, recall and F1
            by class; up to 1,000 classes the confusion matrix.
        """
        figures: dict[str, object] = {
            "rows": self.num_rows,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "calibration_error": self.calibration_error,
            "precision_by_class": self.precision_by_class,
            "recall_by_class": self.recall_by_class,
            "f1_by_class": self.f1_by_class,
        }
        if self._has_matrix:
            figures["confusion_matrix"] = self.confusion.tolist()
        return figures
