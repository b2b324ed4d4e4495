"""Put into words and a table how libraries compared.

Promise: a median is taken over rounds, a ratio within one round; what went wrong in one
round is not hidden by the others.

Not here: measuring (`distrinews.bench.peers`).

Guide: benchmarks/peers.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distrinews.bench import timing

__all__ = ["code_lines", "parts", "ratio", "reading_shares", "summarise", "table"]

TITLES = {
    "ours": "chapter 05",
    "ours_shared": "chapter 05, --averaging shared",
    "trainer": "Trainer, default settings",
    "trainer_grouped": "Trainer, group_by_length",
    "accelerate": "Accelerate, grouped by length",
    "fabric": "Lightning Fabric, grouped by length",
    "whole_layer": "chapter 05, whole last layer",
    "whole_layer_shuffled": "chapter 05, whole last layer, shuffled",
}
# Whose samples per second the others' are set against.
REFERENCE = "ours"
# What makes chapter 05 faster than a peer, one part after the other: the loop and the
# averaging alone, batches by length, the last layer, shared memory.
CHAIN = ("whole_layer_shuffled", "whole_layer", "ours", "ours_shared")


def code_lines(loop: Callable[..., Any]) -> int:
    """Count a loop's lines: no docstring, no comment, no blank line.

    Args:
        loop: The function, or a `functools.partial` of it.

    Returns:
        Lines.

    Examples:
        >>> code_lines(functools.partial(summarise))
        10
    """
    bare = loop.func if isinstance(loop, functools.partial) else loop
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(bare))).body
    # Parsed and written again, all are laid out alike and comments are gone.
    if isinstance(tree, ast.FunctionDef) and ast.get_docstring(tree):
        tree.body = tree.body[1:]
    return len(ast.unparse(tree).splitlines())


def reading_shares(
    batch_places: Sequence[Sequence[int]], *, num_tokens: int
) -> dict[str, float]:
    """Say how much of what the ranks computed was padding, and how much they waited.

    Args:
        batch_places: By rank and step: rows times the longest of them.
        num_tokens: Of all rows, without padding.

    Returns:
        `padding_share` of what all ranks compute, and `waiting_share`: the part of the
        work that ranks with narrower batches wait for.

    Examples:
        >>> reading_shares([[8, 4], [4, 8]], num_tokens=18)
        {'padding_share': 0.25, 'waiting_share': 0.25}
    """
    steps = list(zip(*batch_places, strict=True))
    computed = sum(map(sum, steps))
    widest = len(batch_places) * sum(map(max, steps))
    return {
        "padding_share": 1 - num_tokens / computed,
        "waiting_share": 1 - computed / widest,
    }


def summarise(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Turn the rounds of one contender into what is printed and kept.

    Args:
        rounds: For each what was seen, see below.

    Returns:
        Medians of `samples_per_s`, `padding_share` and `waiting_share`; means of `loss`
        and `accuracy` on held-out rows, counted exactly; whether in all rounds each row
        was read once and the replicas ended equal (where that was looked at); what its
        own evaluation counted; and all rounds.

    Examples:
        >>> seen = {"samples_per_s": 5.0, "padding_share": 0.0, "waiting_share": 0.0,
        ...        "loss": 0.4, "accuracy": 0.9, "each_row_once": True,
        ...        "replicas_equal": True, "evaluated_rows": 203}
        >>> summarise([seen, seen | {"replicas_equal": False}])["replicas_equal"]
        False
    """
    result: dict[str, Any] = {}
    for name in ("samples_per_s", "padding_share", "waiting_share"):
        result[name] = statistics.median(each[name] for each in rounds)
    for name in ("loss", "accuracy"):
        result[name] = statistics.mean(each[name] for each in rounds)
    for name in ("each_row_once", "replicas_equal"):
        result[name] = all(each.get(name, True) for each in rounds)
    result["evaluated_rows"] = max(each["evaluated_rows"] for each in rounds)
    return result | {"rounds": [dict(each) for each in rounds]}


def table(result: Mapping[str, Mapping[str, Any]], *, num_rows: int) -> str:
    """Draw the figures as a table that Markdown and a terminal both show.

    Args:
        result: What `measure` returned.
        num_rows: How many rows there were to evaluate.

    Returns:
        A row per contender.
    """
    head = "what was started,samples/s,chapter 05 by it,loss (all seeds),padding"
    lines = [[*head.split(","), "waiting", "rows evaluated", "lines", "rows read once"]]
    for name, row in result.items():
        if name not in CHAIN[:2]:
            lines.append([
                TITLES[name],
                f"{row['samples_per_s']:.1f}",
                "1" if name == REFERENCE else ratio(result[REFERENCE], row),
                _losses(row),
                f"{row['padding_share']:.0%}",
                f"{row['waiting_share']:.0%}",
                f"{row['evaluated_rows']} of {num_rows}",
                str(row["code_lines"]),
                "yes" if row["each_row_once"] and row["replicas_equal"] else "NO",
            ])
    return timing.draw_table(lines)


def parts(result: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw what each part of chapter 05 brings, against each peer.

    Args:
        result: What `measure` returned.

    Returns:
        A row per peer: the ratios multiply to the last column. Empty if the parts were
        not measured.
    """
    if any(name not in result for name in CHAIN):
        return ""
    head = "against,loop and averaging alone,batches by length,last layer,shared memory"
    lines = [[*head.split(","), "all"]]
    for name, row in result.items():
        if name not in CHAIN:
            steps = [row, *(result[part] for part in CHAIN)]
            lines.append([
                TITLES[name],
                *(ratio(after, before) for before, after in itertools.pairwise(steps)),
                ratio(steps[-1], row),
            ])
    return timing.draw_table(lines)


def _losses(row: Mapping[str, Any]) -> str:
    """The mean loss over seeds, and the smallest and largest."""
    losses = [each["loss"] for each in row["rounds"]]
    return f"{row['loss']:.3f} ({min(losses):.3f} to {max(losses):.3f})"


def ratio(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Say how many samples per second one contender has for one of another's.

    Args:
        ours: What `summarise` returned for it.
        theirs: The same for the other, of the same rounds.

    Returns:
        The median of the rounds' ratios with its interval, or "no difference".

    Examples:
        >>> slow, fast = ({"rounds": [{"samples_per_s": s}] * 5} for s in (10.0, 15.0))
        >>> ratio(fast, slow)
        '1.50x (1.50 to 1.50)'
    """
    pairs = list(zip(ours["rounds"], theirs["rounds"], strict=True))
    median, interval = timing.median_and_interval([
        our_round["samples_per_s"] / their_round["samples_per_s"]
        for our_round, their_round in pairs
    ])
    return timing.ratio_text(median, interval, num_rounds=len(pairs))
