"""How often a job of many GPUs fails, and how often it should save.

Promise: two formulas that can be done by hand. The rate is another cluster's and so an
assumption; whoever shows a result says so.

Not here: saving (`distrinews.checkpoint`), surviving (`distrinews.dist.spawn`).

Guide: interview/scale-1024.
"""

from __future__ import annotations

import math

__all__ = [
    "GPU_HOURS_PER_FAILURE",
    "checkpoint_interval_s",
    "mean_time_between_failures_s",
]

# What others met: 419 unexpected interruptions in 54 days on 16,384 H100.
# Source: The Llama 3 Herd of Models, 2024, section 3.3.4.
GPU_HOURS_PER_FAILURE = 54 * 24 * 16_384 / 419


def mean_time_between_failures_s(num_gpus: int) -> float:
    """Say how long a job runs until something of it fails, on average.

    One failure anywhere stops all: with the same chance a GPU and hour, the time is
    divided by the number of GPUs.

    Args:
        num_gpus: Of the job.

    Returns:
        Seconds, assumed: the rate is another cluster's.

    Examples:
        >>> round(mean_time_between_failures_s(16_384) / 3600, 1)
        3.1
    """
    return 3600 * GPU_HOURS_PER_FAILURE / num_gpus


def checkpoint_interval_s(save_s: float, *, failure_s: float) -> float:
    """Say how often to save, so that saving and lost work together cost least.

    Args:
        save_s: What a checkpoint takes while nobody trains.
        failure_s: The mean time between failures.

    Returns:
        Seconds between checkpoints: the square root of twice the product.

    Source:
        Young 1974, A first order approximation to the optimum checkpoint interval.

    Examples:
        >>> checkpoint_interval_s(2.0, failure_s=100.0)
        20.0
    """
    return math.sqrt(2 * save_s * failure_s)
