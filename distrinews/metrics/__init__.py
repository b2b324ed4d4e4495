"""Exact metrics over all ranks: add up counts, then divide once.

The mean of the ranks' accuracies is not the accuracy: ranks may hold different numbers
of rows. Add up counts and sums, and compute ratios at the end, from the totals.

- `classification`: accuracy, F1, confusion matrix, calibration error.
- `sums`: regression (mse, mae, r2) and language models (loss per token, perplexity).
- `gathering`: every rank's predictions, in the order of the rows, each row once.
- `evaluation`: run a model over test rows, each row once over all ranks.
- `throughput`: rows per second over all ranks, step times, memory.

Guide: understand/metrics-over-ranks.
"""

from __future__ import annotations

from distrinews.metrics.classification import ClassificationMetrics, global_mean
from distrinews.metrics.evaluation import evaluate
from distrinews.metrics.gathering import gather
from distrinews.metrics.sums import LanguageModelMetrics, RegressionMetrics
from distrinews.metrics.throughput import Throughput

__all__ = [
    "ClassificationMetrics",
    "LanguageModelMetrics",
    "RegressionMetrics",
    "Throughput",
    "evaluate",
    "gather",
    "global_mean",
]
