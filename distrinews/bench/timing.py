"""Time training steps so that the numbers can be believed, and keep them.

Promise: variants that are compared take turns (A B B A), so that a laptop that grows
warm slows all of them alike; a time is that of the slowest rank; every file names the
hardware, the versions, the settings and the commit that it was measured with, and
files from different hardware are not compared.

Not here: what is timed (chapter 06, `distrinews.bench.grad_sync`,
`distrinews.bench.length_balance`), the model that predicts times
(`distrinews.bench.costmodel.step_model`).

Guide: understand/performance.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import torch
import torch.distributed as torch_dist
from tqdm import tqdm

from distrinews import dist
from distrinews.dist import Ranks
from distrinews.system import console

__all__ = [
    "FEWEST_ROUNDS",
    "NUM_WARMUPS",
    "PHASES",
    "PhaseTimer",
    "Variant",
    "draw_table",
    "interleave",
    "median_and_interval",
    "noise_warning",
    "ratio_of_rows",
    "ratio_text",
    "spread",
    "summarise",
    "turns",
    "warn_if_oversubscribed",
]

# What a training step consists of, in order. "communication" is the exposed part: what
# backward takes longer when gradients meet than when they do not.
PHASES = ("data", "forward", "backward", "communication", "optimizer")
# Steps that do not count: memory is allocated in them, and torch's DDP cuts its buckets
# anew after the first.
NUM_WARMUPS = 2
# A spread above this makes a comparison worthless: what one calls faster may be luck.
NOISY_SPREAD = 0.25

# Rounds below which a published median or ratio means little: the interval of five
# holds the true median in 15 of 16 cases, that of four in 7 of 8.
FEWEST_ROUNDS = 5

Variant = Callable[["PhaseTimer"], None]
T = TypeVar("T")


class PhaseTimer:
    """Adds up the milliseconds of a step's phases on this rank.

    On a GPU the times are taken from CUDA events, which the GPU itself records. A
    timer on the CPU would only time how long the kernel launches take.

    Args:
        ranks: Who this process is, and where it computes.

    Examples:
        >>> timer = PhaseTimer(Ranks(0, 0, 1, torch.device("cpu")))
        >>> with timer.phase("forward"):
        ...     pass
        >>> list(timer.read_ms())
        ['forward', 'total']
    """

    def __init__(self, ranks: Ranks) -> None:
        self._on_gpu = ranks.device.type == "cuda"
        self._marks: list[tuple[str, Any, Any]] = []
        self._began = self._now()

    def restart(self) -> None:
        """Reset the total: everything so far was preparation."""
        self._marks, self._began = [], self._now()

    @contextlib.contextmanager
    def phase(self, name: str) -> Generator[None, None, None]:
        """Time the block.

        Args:
            name: Such as "forward"; a phase may have several blocks.

        Yields:
            None.
        """
        began = self._now()
        yield
        self._marks.append((name, began, self._now()))

    def read_ms(self) -> dict[str, float]:
        """Stop the timer and read it.

        Returns:
            Phase -> milliseconds, and "total" since the timer was made.
        """
        total = ("total", self._began, self._now())
        if self._on_gpu:
            torch.cuda.synchronize()  # events can be read once they have happened
        times_ms: dict[str, float] = {}
        for name, began, ended in [*self._marks, total]:
            times_ms[name] = times_ms.get(name, 0.0) + self._between_ms(began, ended)
        return times_ms

    def _now(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between_ms(self, began: Any, ended: Any) -> float:
        if self._on_gpu:
            return float(began.elapsed_time(ended))
        return float(1000 * (ended - began))


def turns(names: Sequence[T], *, num_rounds: int) -> Iterator[tuple[int, T]]:
    """Let what is compared take turns, there and back: A B, then B A, then A B.

    Why there and back: whoever always went first would always meet a machine that has
    just been idle.

    Args:
        names: What takes turns.
        num_rounds: How many turns each gets.

    Yields:
        Number of the round, from 0, and whose turn it is.

    Examples:
        >>> list(turns("ab", num_rounds=2))
        [(0, 'a'), (0, 'b'), (1, 'b'), (1, 'a')]
    """
    for number in range(num_rounds):
        for name in names if number % 2 == 0 else reversed(names):
            yield number, name


def interleave(
    variants: Mapping[str, Variant],
    ranks: Ranks,
    *,
    num_rounds: int,
    num_warmups: int = NUM_WARMUPS,
    title: str | tqdm[NoReturn] | None = "measure",
) -> dict[str, list[dict[str, float]]]:
    """Let several variants of a step take turns, and time each.

    Collective: every rank must call it, with the same names in the same order.

    Args:
        variants: Name -> takes one step, marking its phases on the timer.
        ranks: Who this process is.
        num_rounds: How often each variant is timed.
        num_warmups: Rounds before that do not count.
        title: Of the progress bar on rank 0; a bar of the caller's, to go on with; or
            None for no bar.

    Returns:
        Name -> for each round phase -> milliseconds of the slowest rank. The same on
        every rank.

    Note:
        Cost beside the steps: one barrier and one small all-gather each.

    Examples:
        >>> alone = Ranks(0, 0, 1, torch.device("cpu"))
        >>> variants = {"a": lambda timer: None}
        >>> timings = interleave(variants, alone, num_rounds=3, title=None)
        >>> len(timings["a"])
        3
    """
    timings: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
    bar = (
        title
        if isinstance(title, tqdm)
        else tqdm(
            total=(num_warmups + num_rounds) * len(variants),
            desc=title,
            disable=not (title and ranks.is_main),
        )
    )
    for number, name in turns(list(variants), num_rounds=num_warmups + num_rounds):
        if ranks.world_size > 1:
            torch_dist.barrier()  # no rank's late start is timed
        timer = PhaseTimer(ranks)
        variants[name](timer)
        all_ranks_ms = dist.gather_objects(timer.read_ms())
        if number >= num_warmups:
            # WHY one rank's phases and not each phase's maximum: those would add up to
            # more than the step.
            timings[name].append(
                max(all_ranks_ms, key=lambda times_ms: times_ms["total"])
            )
        bar.update()
    if bar is not title:
        bar.close()
    return timings


def spread(values: Sequence[float]) -> float:
    """Say how much repeated measurements differ: the middle half by the median.

    Args:
        values: At least one, positive.

    Returns:
        0.0 if they are all equal; also for fewer than three, which say nothing.

    Examples:
        >>> spread([10.0, 10.0, 11.0, 12.0, 12.0])
        0.182
    """
    if len(values) < 3:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return round((high - low) / middle, 3)


def median_and_interval(values: Sequence[float]) -> tuple[float, list[float]]:
    """Take the median of the rounds, and say how sure it is.

    Args:
        values: One per round, such as the ratio of two times of the same round.

    Returns:
        The median, and an interval that holds the true median in 19 of 20 cases (by
        rank, without any assumption about the noise). Fewer than six values cannot say
        that; their interval is the smallest and the largest of them, which holds the
        true median of five in 15 of 16 cases.

    Examples:
        >>> median_and_interval([0.5, 0.9, 0.8])
        (0.8, [0.5, 0.9])
    """
    ordered = sorted(values)
    # Half of the rounds lie below the median, give or take 1.96 standard deviations.
    low = max(0, math.floor((len(ordered) - 1.96 * math.sqrt(len(ordered))) / 2) - 1)
    interval = [round(ordered[low], 4), round(ordered[len(ordered) - 1 - low], 4)]
    return round(statistics.median(ordered), 4), interval


def ratio_of_rows(
    row: Mapping[str, Any], baseline: Mapping[str, Any], *, scale: float = 1.0
) -> tuple[float, list[float]]:
    """Compare two variants by the rounds that a record keeps of them.

    Why pairs: both of a pair met the machine within the same seconds. The ratio of two
    medians would compare two different minutes.

    Args:
        row: What `summarise` returned for the variant in question.
        baseline: What it returned for the other; as many rounds, taken in turn.
        scale: What each ratio is multiplied by, such as rows of a step by the other's.

    Returns:
        As `median_and_interval`, of the ratios of the rounds' times.

    Examples:
        >>> slow, fast = {"all_ms": [10.0, 20.0, 40.0]}, {"all_ms": [9.0, 16.0, 36.0]}
        >>> ratio_of_rows(fast, slow)
        (0.9, [0.8, 0.9])
    """
    pairs = zip(row["all_ms"], baseline["all_ms"], strict=True)
    return median_and_interval([scale * ms / other_ms for ms, other_ms in pairs])


def ratio_text(
    ratio: float, interval: Sequence[float] | None, *, num_rounds: int
) -> str:
    """Put a ratio of two measurements into words; every table and page does it here.

    Why: a ratio whose interval holds 1 may be noise, and a number in its place would be
    read as a gain or a loss.

    Args:
        ratio: The median over rounds.
        interval: What holds the true median, as `median_and_interval` says; None where
            no rounds were kept.
        num_rounds: How many rounds it was taken from.

    Returns:
        The ratio with its interval; or "no difference" with it, if it holds 1; or the
        ratio with the number of rounds, if they are fewer than five.

    Examples:
        >>> ratio_text(0.88, [0.83, 0.92], num_rounds=9)
        '0.88x (0.83 to 0.92)'
        >>> ratio_text(0.97, [0.95, 1.04], num_rounds=9)
        'no difference (0.95 to 1.04)'
        >>> ratio_text(2.03, [2.03, 2.03], num_rounds=1)
        '2.03x (1 round, no interval)'
    """
    if interval is None or num_rounds < FEWEST_ROUNDS:
        rounds = f"{num_rounds} round" + "s" * (num_rounds != 1)
        return f"{ratio:.2f}x ({rounds}, no interval)"
    low, high = interval
    if low <= 1 <= high:
        return f"no difference ({low:.2f} to {high:.2f})"
    # WHY: an interval that ends just beside 1 must not be shown as if it ended at 1.
    fitting = (d for d in (2, 3, 4) if f"{1:.{d}f}" not in _bounds(low, high, d))
    digits = next(fitting, 5)
    return f"{ratio:.{digits}f}x ({low:.{digits}f} to {high:.{digits}f})"


def _bounds(low: float, high: float, digits: int) -> tuple[str, str]:
    return f"{low:.{digits}f}", f"{high:.{digits}f}"


def summarise(rounds: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Turn the rounds of one variant into what is printed and kept.

    Args:
        rounds: What `interleave` returned for it.

    Returns:
        `median_ms` of the whole step, `phases_ms` (medians), `spread`, `noisy`,
        `num_rounds` and `all_ms`.

    Examples:
        >>> result = summarise([{"forward": 2.0, "total": 5.0}] * 3)
        >>> result["median_ms"], result["phases_ms"], result["noisy"]
        (5.0, {'forward': 2.0}, False)
    """
    totals = [times["total"] for times in rounds]
    phases = {
        name: round(statistics.median(times[name] for times in rounds), 3)
        for name in rounds[0]
        if name != "total"
    }
    return {
        "median_ms": round(statistics.median(totals), 3),
        "phases_ms": phases,
        "spread": spread(totals),
        "noisy": spread(totals) > NOISY_SPREAD,
        "num_rounds": len(rounds),
        "all_ms": [round(ms, 3) for ms in totals],
    }


def noise_warning(result: Mapping[str, Mapping[str, Any]]) -> str:
    """Say so where the machine was too busy for the figures to mean much.

    Args:
        result: Name -> what `summarise` returned.

    Returns:
        A sentence that names them; empty on a quiet machine.

    Examples:
        >>> noise_warning({"a": {"noisy": False}})
        ''
    """
    noisy = [name for name, row in result.items() if row["noisy"]]
    if not noisy:
        return ""
    return (
        f"The machine was busy with something else ({', '.join(noisy)}: the middle "
        "half of the times differ by more than a quarter). Measure again."
    )


def draw_table(lines: Sequence[Sequence[str]]) -> str:
    """Draw a table that Markdown and a terminal both show.

    Args:
        lines: The head, then the rows; all equally long.

    Returns:
        The table, columns aligned.

    Examples:
        >>> print(draw_table([["way", "step"], ["a", "5 ms"]]))
        | way | step |
        | --- | ---- |
        | a   | 5 ms |
    """
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    ruled = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        "| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |"
        for line in ruled
    )


def warn_if_oversubscribed(num_ranks: int, *, num_cores: int) -> str | None:
    """Say what to expect where ranks outnumber the cores.

    Args:
        num_ranks: That will compute at once.
        num_cores: That this process may use.

    Returns:
        The warning, on standard error as well; None where every rank has a core.

    Examples:
        >>> warn_if_oversubscribed(2, num_cores=2) is None
        True
    """
    if num_ranks <= num_cores:
        return None
    cores = console.counted(num_cores, "core")
    message = (
        f"Warning: {num_ranks} ranks share {cores}. They compute in turn, "
        f"and wait for each other at every collective: expect a step of at least "
        f"{num_ranks / num_cores:.1f} times the length, and no speed-up."
    )
    print(message, file=sys.stderr, flush=True)
    return message
