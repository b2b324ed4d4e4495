"""Regression and language-model metrics over all ranks, from sums that are merged.

As for classes (`distrinews.metrics.classification`), each rank updates its own sums,
one call merges those of all ranks, and ratios are computed from the totals.

Not here: classes (`distrinews.metrics.classification`), metrics that need every
prediction, such as AUC or a median (`distrinews.metrics.gathering`).

Letters used for shapes: B = rows of a batch, D = targets per row, T = tokens per row,
V = size of the vocabulary.
Guide: understand/metrics-over-ranks.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from distrinews import dist
from distrinews.errors import DataError

__all__ = ["LanguageModelMetrics", "RegressionMetrics"]


class RegressionMetrics:
    """Sums of errors of real-valued predictions; all metrics are computed from them.

    With several targets per row, each metric is the plain mean over the targets.

    Args:
        num_targets: D.

    Attributes:
        num_rows: How many rows were counted.
        squared_error: float64 [D], the sum of squared errors.
        absolute_error: float64 [D], the sum of absolute errors.
        target_mean: float64 [D], the mean of the targets.
        target_deviation: float64 [D], the sum of squared distances of the targets from
            their mean.

    Examples:
        >>> sums = RegressionMetrics()
        >>> sums.update(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))
        >>> sums.mse, sums.mae
        (2.0, 1.0)
    """

    def __init__(self, num_targets: int = 1) -> None:
        self.num_rows = 0
        self.squared_error = torch.zeros(num_targets, dtype=torch.float64)
        self.absolute_error = torch.zeros_like(self.squared_error)
        self.target_mean = torch.zeros_like(self.squared_error)
        self.target_deviation = torch.zeros_like(self.squared_error)

    def update(self, predictions: torch.Tensor, targets: torch.Tensor) -> None:
        """Count one batch. Local: no rank waits for another.

        Args:
            predictions: [B], or [B, D].
            targets: Of the same shape.

        Raises:
            DataError: The shapes are wrong. On this rank only; inside
                `metrics.evaluate` on all ranks.
        """
        shape, num_targets = predictions.shape, len(self.target_mean)
        wanted = shape[1:] == (num_targets,) or (predictions.ndim == 1 == num_targets)
        if not wanted or targets.shape != shape:
            raise DataError(
                f"predictions of shape {list(shape)} and targets of shape "
                f"{list(targets.shape)} with num_targets={num_targets}.",
                # [B, 1] - [B] would be [B, B] differences.
                why="torch would broadcast them: a row's error against other rows.",
                fix="predictions.squeeze(1), or RegressionMetrics(num_targets=...).",
                page="evaluation",
            )
        # float64, because the sums must not depend on how rows are split over ranks.
        predicted = predictions.detach().double().cpu().reshape(-1, num_targets)
        true = targets.detach().double().cpu().reshape(-1, num_targets)  # [B, D]
        errors = predicted - true
        self.squared_error += errors.square().sum(dim=0)
        self.absolute_error += errors.abs().sum(dim=0)
        if len(true):
            mean = true.mean(dim=0)
            self._merge(len(true), mean, (true - mean).square().sum(dim=0))

    def _merge(
        self, num_rows: int, mean: torch.Tensor, deviation: torch.Tensor
    ) -> None:
        """Merge the targets' mean and deviation with those of other rows."""
        # WHY not the sum of squares: for targets around a million with a spread of one,
        # subtracting the square of the mean would cancel nearly all digits. Source:
        # Chan, Golub, LeVeque, Updating Formulae (1979), equations 1.5.
        total = self.num_rows + num_rows
        gap = mean - self.target_mean
        self.target_mean = self.target_mean + gap * (num_rows / total)
        self.target_deviation = (
            self.target_deviation
            + deviation
            + gap.square() * (self.num_rows * num_rows / total)
        )
        self.num_rows = total

    def all_reduce(self) -> RegressionMetrics:
        """Merge the sums of all ranks. This object is not changed.

        Collective: every rank must call it.

        Returns:
            The sums of all rows, the same on every rank.

        Note:
            Cost: one all-gather of some hundred bytes, and 32 * D.
        """
        total = RegressionMetrics(len(self.target_mean))
        for part in dist.gather_objects(self):
            total.squared_error += part.squared_error
            total.absolute_error += part.absolute_error
            if part.num_rows:
                total._merge(part.num_rows, part.target_mean, part.target_deviation)
        return total

    @property
    def mse(self) -> float:
        """Mean squared error."""
        return float(self.squared_error.mean()) / max(1, self.num_rows)

    @property
    def rmse(self) -> float:
        """Root of the mean squared error of each target, in the unit of the targets."""
        return float((self.squared_error / max(1, self.num_rows)).sqrt().mean())

    @property
    def mae(self) -> float:
        """Mean absolute error."""
        return float(self.absolute_error.mean()) / max(1, self.num_rows)

    @property
    def r2(self) -> float:
        """Fraction of the targets' variance that the predictions explain, at most 1.

        0 means as good as always predicting the mean; NaN for fewer than two rows. If
        all targets are equal, it is 1 for exact predictions, otherwise 0, as in
        scikit-learn.
        """
        if self.num_rows < 2:
            return float("nan")
        explained = 1 - self.squared_error / self.target_deviation
        constant = (self.squared_error == 0).double()
        return float(torch.where(self.target_deviation > 0, explained, constant).mean())

    def as_dict(self) -> dict[str, object]:
        """List the figures under their names, as plain values that JSON can hold.

        Returns:
            Rows, mse, rmse, mae and r2; r2 is None for fewer than two rows.
        """
        return {
            "rows": self.num_rows,
            "mse": self.mse,
            "rmse": self.rmse,
            "mae": self.mae,
            "r2": None if self.num_rows < 2 else self.r2,
        }


class LanguageModelMetrics:
    """Sum of the tokens' losses, for the mean over tokens and the perplexity.

    A mean of the batches' means would give tokens of short rows more weight.

    Args:
        ignore_index: The target of tokens to ignore, such as padding.

    Attributes:
        num_rows: How many rows were counted.
        num_tokens: How many tokens were counted.
        loss_sum: Sum of their cross-entropies, in nats.

    Examples:
        >>> sums = LanguageModelMetrics()
        >>> sums.update(torch.zeros(1, 3, 8), torch.tensor([[5, 2, -100]]))
        >>> sums.num_tokens, round(sums.perplexity, 6)  # 8 tokens, all equally likely
        (2, 8.0)
    """

    def __init__(self, ignore_index: int = -100) -> None:
        self.ignore_index = ignore_index
        self.num_rows = self.num_tokens = 0
        self.loss_sum = 0.0

    def update(self, logits: torch.Tensor, targets: torch.Tensor) -> None:
        """Count one batch. Local: no rank waits for another.

        Args:
            logits: [B, T, V].
            targets: int [B, T], the token that each position should predict: shift the
                text by one first.

        Raises:
            DataError: The shapes are wrong, or a target is not a token. On this rank
                only; inside `metrics.evaluate` on all ranks.
        """
        counted = targets[targets != self.ignore_index]
        problem = ""
        if logits.ndim != 3 or targets.shape != logits.shape[:2]:
            problem = (
                f"logits of shape {list(logits.shape)} and targets of shape "
                f"{list(targets.shape)}"
            )
        elif len(counted) and not 0 <= counted.min() <= counted.max() < logits.shape[2]:
            problem = (
                f"targets from {int(counted.min())} to {int(counted.max())} for "
                f"{logits.shape[2]} tokens"
            )
        if problem:
            raise DataError(
                f"{problem}.",
                why="the loss would be computed over other tokens.",
                fix="logits [B, T, V] and targets [B, T] from 0 to V - 1, or "
                f"{self.ignore_index} where a token does not count.",
                page="evaluation",
            )
        # Each token's loss first, because its bits do not depend on the other rows, and
        # a float64 sum does not double the memory of the logits.
        losses = F.cross_entropy(
            logits.flatten(0, 1).float(),
            targets.flatten().long(),
            ignore_index=self.ignore_index,
            reduction="none",
        )
        self.loss_sum += losses.double().sum().item()
        self.num_tokens += len(counted)
        self.num_rows += len(targets)

    def all_reduce(self) -> LanguageModelMetrics:
        """Add up the sums of all ranks. This object is not changed.

        Collective: every rank must call it.

        Returns:
            The sums of all rows, the same on every rank.

        Note:
            Cost: three all-reduces of 8 bytes.
        """
        total = LanguageModelMetrics(self.ignore_index)
        total.num_rows = dist.sum_over_ranks(self.num_rows)
        total.num_tokens = dist.sum_over_ranks(self.num_tokens)
        total.loss_sum = dist.sum_over_ranks(self.loss_sum)
        return total

    @property
    def loss(self) -> float:
        """Mean cross-entropy per token, in nats."""
        return self.loss_sum / max(1, self.num_tokens)

    @property
    def perplexity(self) -> float:
        """exp(loss): as uncertain as a choice among this many equally likely tokens."""
        return float(torch.tensor(self.loss, dtype=torch.float64).exp())

    def as_dict(self) -> dict[str, object]:
        """List the figures under their names, as plain values that JSON can hold.

        Returns:
            Rows, tokens, loss and perplexity.
        """
        return {
            "rows": self.num_rows,
            "tokens": self.num_tokens,
            "loss": self.loss,
            "perplexity": self.perplexity,
        }
