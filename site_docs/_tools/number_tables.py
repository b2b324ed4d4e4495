"""What the files `numbers_*.py` share: how a figure becomes Markdown, sizes, times.

A page names a figure by its function. `@table` makes a Markdown table of the rows that
a function yields; `@text` takes the Markdown that it returns.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from distrinews.bench.costmodel import published, step_model
from distrinews.bench.costmodel.predictions import low_high_combinations
from distrinews.bench.costmodel.step_model import Link
from distrinews.bench.timing import draw_table
from distrinews.model import sizes

__all__ = [
    "FIGURES",
    "MODELS",
    "TEST_ROWS",
    "TRAIN_ROWS",
    "between",
    "gradient_bytes",
    "mb",
    "numbers_right",
    "ring_ms",
    "table",
    "text",
]

FIGURES: dict[str, Callable[..., str]] = {}
MODELS = ("minilm", "distilbert")
# AG News as its paper and its dataset card give it (Zhang et al. 2015).
TRAIN_ROWS, TEST_ROWS = 120_000, 7_600


def text(make: Callable[..., str]) -> Callable[..., str]:
    """Let pages show what a function returns, by its name."""
    if make.__name__ in FIGURES:
        raise SystemExit(f"two figures are called {make.__name__}: rename one.")
    FIGURES[make.__name__] = make
    return make


def table(
    head: str, *, above: str = "", below: str = ""
) -> Callable[[Callable[..., Iterable[Sequence[Any]]]], Callable[..., str]]:
    """Let pages show the rows that a function yields, by its name.

    Args:
        head: Of the columns, with bars between them.
        above: Markdown above the table.
        below: Markdown below it.

    Returns:
        What makes a function of rows one that returns Markdown.

    Examples:
        >>> @table("ranks | messages")
        ... def doctest_ring():
        ...     yield 2, "2"
        >>> print(doctest_ring())
        | ranks | messages |
        | ----: | -------: |
        | 2     | 2        |
    """

    def decorate(rows: Callable[..., Iterable[Sequence[Any]]]) -> Callable[..., str]:
        @functools.wraps(rows)
        def make(*arguments: int) -> str:
            lines = [head.split(" | ")]
            lines += [[str(cell) for cell in row] for row in rows(*arguments)]
            drawn = numbers_right(draw_table(lines))
            return "\n\n".join(filter(None, (above, drawn, below)))

        return text(make)

    return decorate


def numbers_right(markdown: str) -> str:
    r"""Align the columns that hold only numbers, with their units, to the right.

    Args:
        markdown: With tables in it.

    Returns:
        The same, with other rules below the tables' heads.

    Examples:
        >>> print(numbers_right("| way | step |\n| --- | ---- |\n| 2 a | 5 ms |"))
        | way | step |
        | --- | ---: |
        | 2 a | 5 ms |
    """
    return TABLE.sub(_aligned, markdown)


TABLE = re.compile(r"^(\|.*\|)\n(\|[ |-]+\|)\n((?:\|.*\|\n?)+)", re.MULTILINE)
NUMBER = re.compile(
    r"[-+~]?\d[\d,.]*(e[-+]\d+)?"
    r"( ?(%|x|s|ms|us|B|[kKMGT]i?B|[KMGT]B/s|GFLOP))?( \(.*\))?"
)


def _aligned(match: re.Match[str]) -> str:
    rules = match[2].strip("|").split("|")
    rows = [line.strip("|").split("|") for line in match[3].splitlines()]
    for column, rule in enumerate(rules):
        cells = [row[column].strip() for row in rows if len(row) == len(rules)]
        numbers = [cell for cell in cells if cell not in {"", "-"}]
        if numbers and all(map(NUMBER.fullmatch, numbers)):
            rules[column] = rule.rstrip()[:-1] + ": "
    return f"{match[1]}\n|{'|'.join(rules)}|\n{match[3]}"


def gradient_bytes(model: str) -> int:
    """Bytes of all gradients of a model; its weights are as large."""
    return sum(sizes.gradient_bytes(model))


def mb(num_bytes: float, digits: int = 0) -> str:
    """A size in megabytes."""
    return f"{num_bytes / 1e6:,.{digits}f} MB"


def between(values: Iterable[float], form: str = ",.0f", unit: str = "") -> str:
    """The lowest and the highest of some values."""
    values = list(values)
    return f"{min(values):{form}} to {max(values):{form}}{unit}"


def ring_ms(
    num_bytes: float,
    *,
    world_size: int = 2,
    hardware: dict[str, published.Figure] = published.T4_PAIR,
) -> list[float]:
    """Predicted milliseconds of an all-reduce round a ring, for every combination."""
    link = {name: hardware[name] for name in ("message_s", "link_gb_per_s")}
    return [
        1000
        * step_model.ring_s(
            num_bytes,
            world_size=world_size,
            link=Link(pair["message_s"], pair["link_gb_per_s"] * 1e9),
        )
        for pair in low_high_combinations(link)
    ]
