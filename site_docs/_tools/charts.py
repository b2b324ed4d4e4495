"""Draw bars as HTML: they follow the theme, and a telephone's width."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Bar", "bars"]


class Bar(NamedTuple):
    """One line of a chart.

    Attributes:
        label: What was measured.
        parts: Sizes of the bar's pieces, in the chart's unit.
        value: The number, as it is written beside the bar.
    """

    label: str
    parts: Sequence[float]
    value: str


def bars(caption: str, lines: Sequence[Bar], *, names: Sequence[str] = ()) -> str:
    """Draw a bar for each line, all on one scale from zero.

    Args:
        caption: What the bars show, with the unit.
        lines: At least one, from the top.
        names: Of the pieces, for the legend; none if each bar is one piece.

    Returns:
        HTML without blank lines, so that Markdown leaves it alone.

    Examples:
        >>> "width: 50.0%" in bars("s", [Bar("a", [1], "1 s"), Bar("b", [2], "2 s")])
        True
    """
    longest = max(sum(line.parts) for line in lines)
    rows = [_row(line, longest) for line in lines]
    legend = [
        f'<span><i class="bar-{number}"></i>{html.escape(name)}</span>'
        for number, name in enumerate(names)
    ]
    return "\n".join((
        '<figure class="bars" markdown="0">',
        f"<figcaption>{html.escape(caption)}</figcaption>",
        *([f'<p class="bars-legend">{"".join(legend)}</p>'] if legend else []),
        *rows,
        "</figure>",
    ))


def _row(line: Bar, longest: float) -> str:
    pieces = "".join(
        f'<i class="bar-{number}" style="width: {size / longest:.1%}"></i>'
        for number, size in enumerate(line.parts)
    )
    return (
        f'<div class="bar-row"><span class="bar-label">{html.escape(line.label)}</span>'
        f'<span class="bar">{pieces}</span>'
        f'<span class="bar-value">{html.escape(line.value)}</span></div>'
    )
