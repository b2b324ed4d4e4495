"""What the files `numbers_*.py` share: how a figure becomes Markdown, sizes, times.

A page names a figure by its function. `@table` makes a Markdown table of the rows that
a function yields; `@text` takes the Markdown that it returns.
"""

from __future__ import annotations

import functools
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
        | ----- | -------- |
        | 2     | 2        |
    """

    def decorate(rows: Callable[..., Iterable[Sequence[Any]]]) -> Callable[..., str]:
        @functools.wraps(rows)
        def make(*arguments: int) -> str:
            lines = [head.split(" | ")]
            lines += [[str(cell) for cell in row] for row in rows(*arguments)]
            return "\n\n".join(filter(None, (above, draw_table(lines), below)))

        return text(make)

    return decorate


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
