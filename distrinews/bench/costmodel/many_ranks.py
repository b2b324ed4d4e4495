"""Predict 8 to 1,024 ranks: where communication stops hiding, and who waits for whom.

Promise: weak scaling (each rank keeps its rows) by the cost model, with the longest of
all ranks' rows drawn at random from measured lengths. Every number is predicted, as an
interval, and the same seed gives the same numbers.

Not here: the figures of the hardware (`distrinews.bench.costmodel.published`).

Letters used for shapes: W = number of ranks, B = rows per rank, T = tokens per row.
Guide: benchmarks/many-ranks.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from distrinews.bench import timing
from distrinews.bench.costmodel import predictions, published
from distrinews.bench.costmodel.published import Figure

__all__ = [
    "RANKS",
    "SCENARIOS",
    "Scenario",
    "figures",
    "longest",
    "stops_hiding",
    "table",
]

NOTICEABLE = 0.25  # of a step
RANKS = (1, 8, 16, 32, 64, 128, 256, 512, 1024)
# Part of the rows -> tokens at most. The 7,600 official test rows of AG News with
# minilm's tokenizer (mean 52.7): aggregates only, the rows are not ours to ship.
LENGTHS = {
    0.0: 18,
    0.01: 25,
    0.05: 31,
    0.25: 43,
    0.50: 50,
    0.75: 59,
    0.90: 69,
    0.95: 79,
    0.99: 122,
    0.999: 200,
    1.0: 277,
}


@dataclass(frozen=True)
class Scenario:
    """Hardware to predict for.

    Attributes:
        title: In words.
        figures: Name -> its published interval.
    """

    title: str
    figures: Mapping[str, Figure]


SCENARIOS = {
    "t4_ethernet": Scenario("one T4 a node, 32 Gbit/s Ethernet", published.T4_NODES),
    "a100_efa": Scenario("eight A100 a node, 400 Gbit/s a node", published.A100_NODES),
}


def longest(
    world_size: int, *, rows: int, max_length: int, seed: int, num_draws: int = 200
) -> tuple[float, float]:
    """Draw batches and see how long the longest row is.

    Args:
        world_size: W.
        rows: B.
        max_length: Longer rows are cut [tokens].
        seed: Of the draws.
        num_draws: How many steps are drawn.

    Returns:
        (of one rank's batch, of all W ranks' batches), in tokens, each the mean over
        the draws. A batch is padded to its longest row, and a step waits for the rank
        whose batch is longest.

    Examples:
        >>> of_one_rank, of_all = longest(8, rows=16, max_length=128, seed=0)
        >>> 50 < of_one_rank < of_all < 128
        True
    """
    rng = np.random.default_rng(seed)
    drawn = rng.random((num_draws, world_size, rows))
    lengths = np.interp(drawn, list(LENGTHS), list(LENGTHS.values()))
    of_ranks = np.minimum(lengths, max_length).max(axis=2)  # [draws, W]
    return float(of_ranks.mean()), float(of_ranks.max(axis=1).mean())


def figures(
    model: str, *, rows: int, max_length: int, seed: int
) -> dict[str, list[dict[str, Any]]]:
    """Predict every scenario for every number of ranks.

    Args:
        model: In `sizes.SIZES`.
        rows: B; the same for every W.
        max_length: Longer rows are cut [tokens].
        seed: Of the drawn lengths.

    Returns:
        Scenario -> for each W in `RANKS`: `world_size`, `one_tokens` and
        `longest_tokens`, and as [low, high] `step_ms`, `exposed_ms`, `waiting_ms` (what
        the longest batch of all takes longer than one rank's), `hidden` (the part of
        communication), `exposed_share` (of the step), `efficiency` (a rank's samples/s
        by those of one alone), `balanced_efficiency` (the same if all ranks' batches
        were equally long) and `tree_efficiency` (the same if a bucket also went over a
        tree where that is faster). All but the last are those of a ring.
    """
    result: dict[str, list[dict[str, Any]]] = {}
    drawn = {
        world_size: longest(world_size, rows=rows, max_length=max_length, seed=seed)
        for world_size in RANKS
    }
    for name, scenario in SCENARIOS.items():
        result[name] = []
        for world_size, (one_tokens, all_tokens) in drawn.items():
            values: dict[str, list[float]] = {}
            for chosen in predictions.low_high_combinations(scenario.figures):
                take_step = functools.partial(
                    predictions.step, model, chosen, world_size=world_size, rows=rows
                )
                real = take_step(tokens=all_tokens)
                even = take_step(tokens=one_tokens)
                tree = take_step(tokens=one_tokens, trees=True)
                alone = predictions.step(
                    model, chosen, world_size=1, rows=rows, tokens=one_tokens
                )
                travels_s = real.hidden_s + real.exposed_s
                for key, value in (
                    ("step_ms", 1000 * real.step_s),
                    ("exposed_ms", 1000 * real.exposed_s),
                    ("exposed_share", real.exposed_s / real.step_s),
                    ("waiting_ms", 1000 * (real.step_s - even.step_s)),
                    ("hidden", real.hidden_s / travels_s if travels_s else 1.0),
                    ("efficiency", alone.step_s / real.step_s),
                    ("balanced_efficiency", alone.step_s / even.step_s),
                    ("tree_efficiency", alone.step_s / tree.step_s),
                ):
                    values.setdefault(key, []).append(value)
            result[name].append(
                {
                    "world_size": world_size,
                    "one_tokens": round(one_tokens, 1),
                    "longest_tokens": round(all_tokens, 1),
                }
                | {
                    key: predictions.interval(v, digits=1 if key.endswith("ms") else 3)
                    for key, v in values.items()
                }
            )
    return result


def stops_hiding(rows: list[dict[str, Any]]) -> dict[str, int | None]:
    """Say from how many ranks on exposed communication is a noticeable part of a step.

    Args:
        rows: What `figures` returned for a scenario.

    Returns:
        "possibly": the first W at which it may be more than `NOTICEABLE`; "certainly":
        the first at which it is, whatever the figures are within their intervals. None
        if it is so at none.

    Examples:
        >>> stops_hiding([
        ...     {"world_size": 8, "exposed_share": [0.02, 0.3]},
        ...     {"world_size": 16, "exposed_share": [0.3, 0.9]},
        ... ])
        {'possibly': 8, 'certainly': 16}
    """
    result = {}
    for word, bound in (("possibly", 1), ("certainly", 0)):
        matches = (row for row in rows if row["exposed_share"][bound] > NOTICEABLE)
        result[word] = next((row["world_size"] for row in matches), None)
    return result


def table(rows: list[dict[str, Any]]) -> str:
    """Draw one scenario as a table for Markdown and a terminal.

    Args:
        rows: What `figures` returned for it.

    Returns:
        A row per number of ranks.
    """

    def between(pair: list[float], form: str) -> str:
        return f"{pair[0]:{form}} to {pair[1]:{form}}"

    head = ["ranks", "longest batch", "step", "exposed", "hidden", "efficiency"]
    lines = [[*head, "equal lengths", "and trees"]]
    for row in rows:
        lines.append([
            f"{row['world_size']:,}",
            f"{row['longest_tokens']:.0f} tokens",
            f"{between(row['step_ms'], '.0f')} ms",
            f"{between(row['exposed_ms'], '.0f')} ms",
            between(row["hidden"], ".0%"),
            between(row["efficiency"], ".0%"),
            between(row["balanced_efficiency"], ".0%"),
            between(row["tree_efficiency"], ".0%"),
        ])
    return timing.draw_table(lines)
