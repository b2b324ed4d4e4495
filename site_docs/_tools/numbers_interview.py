"""Numbers of the system-design walks: this course's job on 8, 64 and 1,024 GPUs.

Steps come from the committed prediction, which a test keeps equal to what the cost
model predicts. Rates of failure and the speed of the disk are assumed, and called so.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import failure_rate
import interview_figures
from interview_figures import LARGE_MODEL, ROWS_PER_RANK, TRAIN_ROWS

from distrinews.bench import results
from distrinews.bench.costmodel.many_ranks import SCENARIOS
from distrinews.bench.timing import draw_table
from distrinews.config.settings import TrainSettings
from distrinews.model import sizes

MODEL = "distilbert"
SIZES = (8, 64, 1024)
DISK_BYTES_PER_S = 1e9  # assumed: what one writer reaches on the disk that survives
PARAMETERS = {
    f"`{MODEL}`": sum(sizes.gradient_bytes(MODEL)) / 4,
    f"{LARGE_MODEL / 1e9:.0f} billion parameters": LARGE_MODEL,
}


def _predicted(ranks: int) -> dict[str, dict[str, Any]]:
    """A row of the prediction for each kind of hardware."""
    path = interview_figures.RESULTS / "prediction.json"
    scenarios = results.read(path, kind="prediction")["figures"]["many_ranks"][MODEL]
    return {
        SCENARIOS[name].title: next(row for row in rows if row["world_size"] == ranks)
        for name, rows in scenarios.items()
    }


def _between(pair: Sequence[float], form: str = ",.0f", unit: str = "") -> str:
    return f"{pair[0]:{form}} to {pair[1]:{form}}{unit}"


def _step(ranks: int) -> str:
    """What a step takes, and what is kept of a rank's speed."""
    head = "hardware,longest batch,step,exposed,efficiency,with equal lengths"
    lines = [[*head.split(","), "with trees as well"]]
    for title, row in _predicted(ranks).items():
        lines.append([
            title,
            f"{row['longest_tokens']:.0f} tokens",
            _between(row["step_ms"], unit=" ms"),
            _between(row["exposed_ms"], unit=" ms"),
            *(
                _between(row[key], ".0%")
                for key in ("efficiency", "balanced_efficiency", "tree_efficiency")
            ),
        ])
    note = f"Predicted, not measured: {MODEL}, {ROWS_PER_RANK} rows a rank, float32."
    return f"{draw_table(lines)}\n\n{note}"


def _batch(ranks: int) -> str:
    """Rows a step and what follows from them."""
    head = "global batch,rows a rank,steps an epoch,linear rule,square-root rule"
    lines = [head.split(",")]
    for rows in sorted({TrainSettings().global_batch_size, ranks * ROWS_PER_RANK}):
        rates = [
            TrainSettings.model_validate({
                "preset": MODEL,
                "global_batch_size": rows,
                "learning_rate_rule": rule,
            }).peak_learning_rate
            for rule in ("linear", "sqrt")
        ]
        each = f"{rows // ranks}" if rows >= ranks else "less than one"
        steps = f"{TRAIN_ROWS // rows:,}"
        lines.append([f"{rows:,}", each, steps, *(f"{rate:.2g}" for rate in rates)])
    return draw_table(lines)


def _throughput(ranks: int) -> str:
    """How many rows a second all ranks eat, and how long an epoch is."""
    lines = [["hardware", "rows a second, all ranks", "an epoch of AG News"]]
    rows = ranks * ROWS_PER_RANK
    for title, row in _predicted(ranks).items():
        slow_s, fast_s = (row["step_ms"][i] / 1000 for i in (1, 0))
        epoch = [TRAIN_ROWS // rows * step_s for step_s in (fast_s, slow_s)]
        throughput = _between([rows / slow_s, rows / fast_s])
        lines.append([
            title,
            throughput,
            _between(epoch, ",.1f" if epoch[0] < 9 else ",.0f"),
        ])
        lines[-1][-1] += " s"
    return f"{draw_table(lines)}\n\nPredicted, not measured; a ring, rows as they come."


def _failures(ranks: int) -> str:
    """Mean time between failures, and the interval of checkpoints that follows."""
    failure_s = failure_rate.mean_time_between_failures_s(ranks)
    head = "model,checkpoint,writing it,something fails every,save every,lost"
    lines = [head.split(",")]
    for name, parameters in PARAMETERS.items():
        save_s = 12 * parameters / DISK_BYTES_PER_S  # weight and two moments
        interval_s = failure_rate.checkpoint_interval_s(save_s, failure_s=failure_s)
        # Saving, and half an interval of work that a failure takes with it.
        lost = save_s / interval_s + interval_s / 2 / failure_s
        lines.append([
            name,
            f"{12 * parameters / 1e9:.1f} GB",
            f"{save_s:.1f} s",
            f"{failure_s / 3600:,.0f} hours",
            _time(interval_s),
            f"{lost:.2%}",
        ])
    rate = f"{failure_rate.GPU_HOURS_PER_FAILURE:,.0f}"
    note = (
        f"Assumed: one failure in {rate} GPU-hours (419 in 54 days on 16,384 GPUs, The "
        "Llama 3 Herd of Models, section 3.3.4), and a disk that takes "
        f"{DISK_BYTES_PER_S / 1e9:.0f} GB/s while nobody trains. *Lost* is saving plus "
        "half an interval a failure; finding and restarting come on top."
    )
    return f"{draw_table(lines)}\n\n{note}"


def _time(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _memory(ranks: int) -> str:
    """Bytes of state on each rank, by what is sharded."""
    lines = [["model", "DDP", "ZeRO-1", "ZeRO-2", "ZeRO-3, FSDP"]]
    for name, parameters in PARAMETERS.items():
        # Of 16 bytes a parameter: optimizer 8, gradient 4, weight 4.
        bytes_per_parameter = [16, 8 + 8 / ranks, 4 + 12 / ranks, 16 / ranks]
        lines.append([
            name,
            *(_size(parameters * num_bytes) for num_bytes in bytes_per_parameter),
        ])
    return f"{draw_table(lines)}\n\nFloat32 with AdamW, without activations; computed."


def _size(num_bytes: float) -> str:
    unit, name = (1e9, "GB") if num_bytes >= 1e9 else (1e6, "MB")
    value = num_bytes / unit
    return f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f} {name}"


RENDERERS: dict[str, Callable[[], str]] = {
    f"scale_{ranks}_{name}": functools.partial(make, ranks)
    for ranks in SIZES
    for name, make in (
        ("step", _step),
        ("batch", _batch),
        ("pace", _throughput),
        ("failures", _failures),
        ("memory", _memory),
    )
}
globals().update(RENDERERS)
__all__ = list(RENDERERS)
