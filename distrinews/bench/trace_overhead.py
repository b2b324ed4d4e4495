"""Record some steps of the reader's own machine, and measure what recording costs.

Promise: the steps are those of `distrinews.bench.scaling`; recorded and bare ones take
turns, on replicas that start equal, and must end equal.

Not here: the recorder (`distrinews.tracing.recorder`), the picture
(`distrinews.tracing.render`).

Letters used for shapes: G = rows per global batch.
Guide: understand/timeline.
"""

from __future__ import annotations

import contextlib
import copy
import pathlib
import tempfile
import time
from collections.abc import Generator
from typing import Any, NoReturn

import torch
from torch import nn
from tqdm import tqdm

from distrinews import dist, sync
from distrinews.bench import results, scaling, steps, timing
from distrinews.bench.timing import PhaseTimer
from distrinews.config.settings import BenchmarkSettings
from distrinews.dist import Ranks
from distrinews.system import files
from distrinews.tracing import render, timeline
from distrinews.tracing.recorder import Recorder, recording
from distrinews.training import corpus
from distrinews.training.corpus import Splits

__all__ = [
    "NUM_STEPS",
    "figures",
    "measure",
    "ratio_to_bare",
    "record",
    "run",
    "table",
]

NUM_RECORDED = 3
NUM_STEPS = timing.NUM_WARMUPS + NUM_RECORDED
NUM_CALLS = 200  # that are timed by themselves


def record(
    net: nn.Module,
    splits: Splits,
    ranks: Ranks,
    *,
    settings: BenchmarkSettings,
    folder: pathlib.Path,
) -> str:
    """Record a few steps of training with the same global batch, and draw them.

    Collective: every rank must call it.

    Args:
        net: The model on the rank's device; it is not changed.
        splits: Rows to train on; at least G.
        ranks: Who this process is.
        settings: The global batch size G and the optimizer.
        folder: Where `timeline.html`, `timeline.perfetto.json` and the folder `trace`
            go.

    Returns:
        What `timeline.diagnose` says.

    Raises:
        OutputError: A file could not be written. On every rank.
    """
    replica = sync.wrap_ddp(copy.deepcopy(net), ranks)
    take_step = scaling.make_step("strong", replica, splits, ranks, settings=settings)
    for _ in range(timing.NUM_WARMUPS):
        take_step(PhaseTimer(ranks))
    with dist.raise_together():
        with files.translate_write_errors(folder):
            (folder / "trace").mkdir(parents=True, exist_ok=True)
    with recording(folder / "trace", ranks) as recorder:
        recorder.watch(replica)
        for _ in range(NUM_RECORDED):
            take_step(recorder)
    verdict = ""
    dist.gather_objects(None)  # every rank's record is complete
    with dist.raise_together():
        if ranks.is_main:
            events = timeline.read(folder / "trace")
            verdict = timeline.diagnose(events, world_size=ranks.world_size)
            title = f"{NUM_RECORDED} steps of {settings.preset}"
            page, perfetto = (
                folder / f"timeline.{k}" for k in ("html", "perfetto.json")
            )
            render.write_html(events, page, title=title, verdict=verdict)
            render.write_perfetto(events, perfetto)
    return dist.broadcast_object(verdict)


class _TimerAndRecorder:
    """Marks a phase on the timer and in the record."""

    def __init__(self, timer: PhaseTimer, recorder: Recorder) -> None:
        self.timer, self.recorder = timer, recorder

    @contextlib.contextmanager
    def phase(self, name: str) -> Generator[None, None, None]:
        with self.timer.phase(name), self.recorder.phase(name):
            yield


def measure(
    net: nn.Module,
    splits: Splits,
    ranks: Ranks,
    *,
    settings: BenchmarkSettings,
    title: str | tqdm[NoReturn] | None = "time recording",
) -> dict[str, Any]:
    """Time steps with and without a recorder, in turn.

    Collective: every rank must call it.

    Args:
        net: The model on the rank's device, with equal weights; it is not changed.
        splits: Rows to train on; at least G.
        ranks: Who this process is.
        settings: The global batch size G, the optimizer, the number of rounds.
        title: As in `timing.interleave`.

    Returns:
        What `figures` returns; the same on every rank.
    """
    with contextlib.ExitStack() as stack:
        with dist.raise_together():
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            recorder = stack.enter_context(recording(pathlib.Path(folder), ranks))
        replicas = [sync.wrap_ddp(copy.deepcopy(net), ranks) for _ in range(2)]
        bare, recorded = (
            scaling.make_step("strong", replica, splits, ranks, settings=settings)
            for replica in replicas
        )
        recorder.watch(replicas[1])
        variants: dict[str, timing.Variant] = {
            "bare": bare,
            "recorded": lambda timer: recorded(_TimerAndRecorder(timer, recorder)),
        }
        timings = timing.interleave(
            variants, ranks, num_rounds=settings.num_rounds, title=title
        )
        events = timeline.read(pathlib.Path(folder))[ranks.rank]
        cost_ms = _call_ms(recorder)
    pairs = zip(*(replica.parameters() for replica in replicas), strict=True)
    gap = max(float((left - right).detach().abs().max()) for left, right in pairs)
    num_steps = settings.num_rounds + timing.NUM_WARMUPS
    between = ("barrier", "all_gather_object")  # `interleave`'s, outside the timer
    num_calls = sum(event.name not in between for event in events) / num_steps
    local = (gap, num_calls, cost_ms)
    gaps, calls, costs = zip(*dist.gather_objects(local), strict=True)
    return figures(timings, gap=max(gaps), calls=max(calls), call_ms=max(costs))


def _call_ms(recorder: Recorder) -> float:
    """What recording one call costs, by itself."""
    nothing = recorder.wrap("nothing", lambda _: None)
    argument = torch.zeros(1)
    start_s = time.perf_counter()
    for _ in range(NUM_CALLS):
        nothing(argument)
    return 1000 * (time.perf_counter() - start_s) / NUM_CALLS


def figures(
    timings: dict[str, list[dict[str, float]]],
    *,
    gap: float,
    calls: float,
    call_ms: float,
) -> dict[str, Any]:
    """Turn times into what is printed and kept.

    Args:
        timings: What `timing.interleave` returned for "bare" and "recorded".
        gap: Largest difference of a weight after all steps.
        calls: Recorded phases and calls of a step.
        call_ms: What recording one of them costs by itself.

    Returns:
        For both what `timing.summarise` returns; for "recorded" also
        `ratio_to_bare` with its `ratio_interval`, `calls_per_step`, `call_ms`,
        `own_share` (calls by their cost, as a part of a bare step) and `max_abs_diff`.

    Examples:
        >>> both = {"bare": [{"total": 100.0}] * 3, "recorded": [{"total": 101.0}] * 3}
        >>> result = figures(both, gap=0.0, calls=10, call_ms=0.1)
        >>> result["recorded"]["ratio_to_bare"], result["recorded"]["own_share"]
        (1.01, 0.01)
    """
    result = {name: timing.summarise(rounds) for name, rounds in timings.items()}
    ratio, interval = timing.ratio_of_rows(result["recorded"], result["bare"])
    result["recorded"] |= {
        "ratio_to_bare": ratio,
        "ratio_interval": interval,
        "calls_per_step": calls,
        "call_ms": round(call_ms, 4),
        "own_share": round(calls * call_ms / result["bare"]["median_ms"], 5),
        "max_abs_diff": gap,
    }
    return result


def table(result: dict[str, Any]) -> str:
    """Draw the figures as a table that Markdown and a terminal both show.

    Args:
        result: What `figures` returned.

    Returns:
        A row per variant.
    """
    recorded = result["recorded"]
    ratio = ratio_to_bare(result)
    lines = [["way", "step", "by bare (95 % interval)", "recorder itself", "calls"]]
    lines.append(["bare", f"{result['bare']['median_ms']:.0f} ms", "1", "", ""])
    lines.append([
        "recorded",
        f"{recorded['median_ms']:.0f} ms",
        ratio,
        f"{recorded['own_share']:.2%}",
        f"{recorded['calls_per_step']:.0f} a step, {recorded['call_ms']:.2f} ms each",
    ])
    return timing.draw_table(lines)


def ratio_to_bare(result: dict[str, Any]) -> str:
    """Put what recording costs into words.

    Args:
        result: What `figures` returned.

    Returns:
        As `timing.ratio_text`, of the time of a recorded step by a bare one's.
    """
    recorded = result["recorded"]
    return timing.ratio_text(
        recorded["ratio_to_bare"],
        recorded["ratio_interval"],
        num_rounds=recorded["num_rounds"],
    )


def run(ranks: Ranks, settings: BenchmarkSettings) -> None:
    """Measure, print, and write the record if one was asked for.

    Collective: every rank must call it; it is what `dist.launch` runs.

    Args:
        ranks: Who this process is.
        settings: What to measure.
    """
    splits = corpus.load(settings)
    net = steps.build_net(splits, ranks, settings=settings)
    result = measure(net, splits, ranks, settings=settings)
    text = table(result), timing.noise_warning(result)
    results.print_and_save(settings, "trace", *text, figures=result, ranks=ranks)
