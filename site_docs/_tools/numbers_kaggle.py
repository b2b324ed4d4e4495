"""How long the Kaggle notebook takes: predicted by the cost model, the rest assumed.

Nobody here has a T4. What computes is predicted as on benchmarks/t4, from the flags
that the notebook itself uses; what installs, loads and starts is assumed, widely.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from number_tables import TEST_ROWS, TRAIN_ROWS, gradient_bytes, table
from records import ROOT

from distrinews import training
from distrinews.bench.costmodel import predictions, published
from distrinews.bench.costmodel.report import PredictionSettings
from distrinews.bench.scaling import num_steps
from distrinews.config.settings import BenchmarkSettings, DistributedSettings

sys.path.insert(0, str(ROOT / "apps" / "kaggle"))
import kaggle_plan as notebook

T4_PAIR = ["Tesla T4", "Tesla T4"]
VALIDATION_ROWS = 1_000  # by the rule of `settings`
NUM_PROGRAMS = 10  # that load torch, the ranks of one run counted once
STATE_BYTES = 12  # a parameter: weight and AdamW's two moments


@dataclass(frozen=True)
class Part:
    """A part of the notebook, and how long it takes at least and at most. Seconds."""

    title: str
    low_s: float
    high_s: float
    known: str = "assumed"


def timetable(*, epochs: int = 1) -> list[Part]:
    """Predict every part of the notebook on two T4.

    Args:
        epochs: Passes over the training rows; the notebook does one.

    Returns:
        The parts, in order.
    """
    flags = notebook.choose(T4_PAIR).pair
    values = {
        name.removeprefix("--").replace("-", "_"): value
        for name, value in zip(flags[::2], flags[1::2], strict=True)
    }
    settings = DistributedSettings(**values | {"epochs": epochs})  # type: ignore[arg-type]
    plan = training.plan(settings, num_rows=TRAIN_ROWS - VALIDATION_ROWS)
    rows = settings.global_batch_size
    tokens = PredictionSettings().tokens
    predictions_by_setup = predictions.two_t4(settings.preset, rows=rows, tokens=tokens)
    one_rank, two_ranks, weak = (
        predictions_by_setup[setup]["step_ms"] for setup in ("one", "two", "two_weak")
    )
    save_every = settings.save_every_steps or plan.last_step
    num_saves = 2 * (plan.last_step // save_every + epochs) + 1
    state_gb = STATE_BYTES * gradient_bytes(settings.preset) / 4 / 1e9
    rounds = BenchmarkSettings(num_rounds=notebook.ROUNDS)
    timed_steps = num_steps(rounds) // 5
    return [
        Part("install, doctor", 60, 600),
        Part("download model and rows", 10, 150),
        Part("tokenise the rows, once", 10, 120),
        _steps("one rank", plan.last_step, one_rank),
        # Interrupted just after a checkpoint; at most the steps between two are lost.
        _steps(
            "two ranks, interrupted and resumed",
            plan.last_step,
            two_ranks,
            again=save_every,
        ),
        _evaluations(settings.preset, epochs, tokens),
        Part(
            f"{num_saves} checkpoints of {state_gb:.1f} GB",
            num_saves,
            10 * state_gb * num_saves,
        ),
        Part(
            "chapter 06",
            timed_steps * (one_rank[0] + 2 * two_ranks[0] + 2 * weak[0]) / 1000,
            timed_steps * (one_rank[1] + 2 * two_ranks[1] + 2 * weak[1]) / 1000,
            "predicted",
        ),
        Part(f"start {NUM_PROGRAMS} programs", 10 * NUM_PROGRAMS, 40 * NUM_PROGRAMS),
        Part("folder of the Space, archive", 30, 180),
        Part("tests marked gpu", 120, 900),
    ]


def _steps(title: str, num: int, step_ms: list[float], *, again: int = 0) -> Part:
    low_s, high_s = num * step_ms[0] / 1000, (num + again) * step_ms[1] / 1000
    return Part(f"{title}: {num:,} steps", low_s, high_s, "predicted")


def _evaluations(preset: str, epochs: int, tokens: float) -> Part:
    """Forward passes of both runs, and of the evaluation over one rank and over two."""
    rows = 2 * (epochs * VALIDATION_ROWS + TEST_ROWS) + 2 * TEST_ROWS
    batch = 32
    forward_s = []
    for figures in predictions.low_high_combinations(published.T4_PAIR):
        speed = predictions.gpu_compute(preset, tokens, figures)
        forward_backward_s = speed.forward_backward_s(batch, tokens)
        forward_s.append(
            float(forward_backward_s * (1 - speed.backward_share)) * rows / batch
        )
    title = f"evaluate {rows:,} rows in all"
    # At best two GPUs share every row, at worst one computes them all.
    return Part(title, min(forward_s) / 2, max(forward_s), "predicted")


@table("part | at least | at most | how known", above="**Predicted, not measured.**")
def kaggle_plan() -> Iterator[list[str]]:
    """Every part of the notebook on two T4, and their sum."""
    parts = timetable()
    low_s, high_s = sum(p.low_s for p in parts), sum(p.high_s for p in parts)
    for part in (*parts, Part("**all of it**", low_s, high_s, "predicted and assumed")):
        yield [part.title, _duration(part.low_s), _duration(part.high_s), part.known]


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
