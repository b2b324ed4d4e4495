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
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distrinews.bench import timing

__all__ = ["code_lines", "summarise", "table"]

TITLES = {
    "padded": "torch DDP, padded to the maximum",
    "dynamic": "torch DDP, dynamic padding",
    "trainer": "Trainer, as it comes",
    "trainer_grouped": "Trainer, group_by_length",
    "trainer_rebalanced": "Trainer, batch_rebalance",
    "accelerate": "Accelerate",
    "fabric": "Lightning Fabric",
    "ours_ddp": "ours, the parts of chapter 05",
    "ours": "ours, with what no chapter uses",
}
# Whose samples per second the others' are set against: what a chapter runs.
REFERENCE = "ours_ddp"


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


def summarise(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Turn the rounds of one loop into what is printed and kept.

    Args:
        rounds: For each what was seen, see below.

    Returns:
        Medians of `samples_per_s`, `padding_share` (of what all ranks compute) and
        `waiting_share` (part of the work that ranks with narrower batches wait for);
        means of `loss` and `accuracy` on held-out rows, counted exactly; whether in all
        rounds each row was read once and the replicas ended equal; what its own
        evaluation counted; and all rounds.

    Examples:
        >>> epoch = {"samples_per_s": 5.0, "padding_share": 0.0, "waiting_share": 0.0,
        ...        "loss": 0.4, "accuracy": 0.9, "each_row_once": True,
        ...        "replicas_equal": True, "evaluated_rows": 203}
        >>> summarise([epoch, epoch | {"replicas_equal": False}])["replicas_equal"]
        False
    """
    result: dict[str, Any] = {}
    for name in ("samples_per_s", "padding_share", "waiting_share"):
        result[name] = statistics.median(epoch[name] for epoch in rounds)
    for name in ("loss", "accuracy"):
        result[name] = statistics.mean(epoch[name] for epoch in rounds)
    for name in ("each_row_once", "replicas_equal"):
        result[name] = all(epoch[name] for epoch in rounds)
    result["evaluated_rows"] = max(epoch["evaluated_rows"] for epoch in rounds)
    return result | {"rounds": [dict(epoch) for epoch in rounds]}


def table(result: Mapping[str, Mapping[str, Any]], *, num_rows: int) -> str:
    """Draw the figures as a table that Markdown and a terminal both show.

    Args:
        result: What `measure` returned.
        num_rows: How many rows there were to evaluate.

    Returns:
        A row per loop.
    """
    head = "loop,samples/s,chapter 05 by it,loss,padding,waiting,rows evaluated,lines"
    lines = [[*head.split(","), "rows read once", "replicas"]]
    for name, row in result.items():
        lines.append([
            TITLES.get(name, name),
            f"{row['samples_per_s']:.1f}",
            "1" if name == REFERENCE else _ratio(result.get(REFERENCE, row), row),
            f"{row['loss']:.3f}",
            f"{row['padding_share']:.0%}",
            f"{row['waiting_share']:.0%}",
            f"{row['evaluated_rows']} of {num_rows}",
            str(row["code_lines"]),
            "yes" if row["each_row_once"] else "NO",
            "equal" if row["replicas_equal"] else "DIFFER",
        ])
    return timing.draw_table(lines)


def _ratio(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """How many samples per second the reference has for one of the other loop."""
    pairs = list(zip(ours["rounds"], theirs["rounds"], strict=True))
    ratio, interval = timing.median_and_interval([
        our_round["samples_per_s"] / their_round["samples_per_s"]
        for our_round, their_round in pairs
    ])
    return timing.ratio_text(ratio, interval, num_rounds=len(pairs))
