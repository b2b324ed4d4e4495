"""Numbers of the system-design walks: this course's job on 8, 64 and 1,024 GPUs.

Steps come from the committed prediction, which a test keeps equal to what the cost
model predicts. Rates of failure and the speed of the disk are assumed, and called so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from interview_figures import (
    GPU_HOURS_PER_FAILURE,
    LARGE_MODEL,
    ROWS_PER_RANK,
    mean_time_between_failures_s,
)
from number_tables import TRAIN_ROWS, between, gradient_bytes, table
from records import RESULTS

from distrinews.bench import results
from distrinews.bench.costmodel.many_ranks import SCENARIOS
from distrinews.config.settings import TrainSettings

MODEL = "distilbert"
DISK_BYTES_PER_S = 1e9  # assumed: what one writer reaches on the disk that survives
PARAMETERS = {
    f"`{MODEL}`": gradient_bytes(MODEL) / 4,
    f"{LARGE_MODEL / 1e9:.0f} billion parameters": LARGE_MODEL,
}


def _predicted(ranks: int) -> dict[str, dict[str, Any]]:
    """A row of the prediction for each kind of hardware."""
    prediction = results.read(RESULTS / "prediction.json", kind="prediction")
    return {
        SCENARIOS[name].title: next(row for row in rows if row["world_size"] == ranks)
        for name, rows in prediction["figures"]["many_ranks"][MODEL].items()
    }


@table(
    "hardware | longest batch | step | exposed | efficiency | with equal lengths | "
    "with trees as well",
    below=f"Predicted, not measured: {MODEL}, {ROWS_PER_RANK} rows per rank, float32.",
)
def scale_step(ranks: int) -> Iterator[list[str]]:
    """What a step takes, and what is kept of a rank's speed."""
    for title, row in _predicted(ranks).items():
        yield [
            title,
            f"{row['longest_tokens']:.0f} tokens",
            *(between(row[key], unit=" ms") for key in ("step_ms", "exposed_ms")),
            *(
                between(row[key], ".0%")
                for key in ("efficiency", "balanced_efficiency", "tree_efficiency")
            ),
        ]


@table(
    "global batch | rows per rank | steps per epoch | linear rule | square-root rule"
)
def scale_batch(ranks: int) -> Iterator[list[str]]:
    """Rows a step and what follows from them."""
    for rows in sorted({TrainSettings().global_batch_size, ranks * ROWS_PER_RANK}):
        rates = (
            TrainSettings.model_validate({
                "preset": MODEL,
                "global_batch_size": rows,
                "learning_rate_rule": rule,
            }).peak_learning_rate
            for rule in ("linear", "sqrt")
        )
        each = f"{rows // ranks}" if rows >= ranks else "less than one"
        steps = f"{TRAIN_ROWS // rows:,}"
        yield [f"{rows:,}", each, steps, *(f"{rate:.2g}" for rate in rates)]


@table(
    "hardware | rows per second, all ranks | one epoch of AG News",
    below="Predicted, not measured; a ring, lengths not balanced.",
)
def scale_pace(ranks: int) -> Iterator[list[str]]:
    """Rows per second over all ranks, and the time of one epoch."""
    rows = ranks * ROWS_PER_RANK
    for title, row in _predicted(ranks).items():
        steps_s = [ms / 1000 for ms in row["step_ms"]]
        epochs_s = [TRAIN_ROWS // rows * step_s for step_s in steps_s]
        form = ",.1f" if min(epochs_s) < 9 else ",.0f"
        pace = between(rows / step_s for step_s in steps_s)
        yield [title, pace, between(epochs_s, form, " s")]


@table(
    "model | checkpoint | writing it | something fails every | save every | lost",
    below=f"Assumed: one failure in {GPU_HOURS_PER_FAILURE:,.0f} GPU-hours (419 in 54 "
    "days on 16,384 GPUs, The Llama 3 Herd of Models, section 3.3.4), and a disk that "
    f"writes {DISK_BYTES_PER_S / 1e9:.0f} GB/s; training waits. *Lost* is saving "
    "plus half an interval per failure, without detection and restart.",
)
def scale_failures(ranks: int) -> Iterator[list[str]]:
    """Mean time between failures, and the interval of checkpoints that follows."""
    failure_s = mean_time_between_failures_s(ranks)
    for name, parameters in PARAMETERS.items():
        save_s = 12 * parameters / DISK_BYTES_PER_S  # weight and two moments
        # Source: Young 1974, A first order approximation to the optimum checkpoint
        # interval.
        interval_s = math.sqrt(2 * save_s * failure_s)
        # Saving, and half an interval of work that a failure takes with it.
        lost = save_s / interval_s + interval_s / 2 / failure_s
        yield [
            name,
            f"{12 * parameters / 1e9:.1f} GB",
            f"{save_s:.1f} s",
            f"{failure_s / 3600:,.0f} hours",
            _time(interval_s),
            f"{lost:.2%}",
        ]


def _time(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


@table(
    "model | DDP | ZeRO-1 | ZeRO-2 | ZeRO-3, FSDP",
    below="Float32 with AdamW, without activations; computed.",
)
def scale_memory(ranks: int) -> Iterator[list[str]]:
    """Bytes of state on each rank, by what is sharded."""
    # Of 16 bytes a parameter: optimizer 8, gradient 4, weight 4.
    bytes_per_parameter = (16, 8 + 8 / ranks, 4 + 12 / ranks, 16 / ranks)
    for name, parameters in PARAMETERS.items():
        yield [name, *(_size(parameters * each) for each in bytes_per_parameter)]


def _size(num_bytes: float) -> str:
    unit, name = (1e9, "GB") if num_bytes >= 1e9 else (1e6, "MB")
    value = num_bytes / unit
    return f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f} {name}"
