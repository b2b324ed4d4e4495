"""The interview's cards as a text file that Anki imports.

Promise: every line has the same fields; a card keeps its id, so that importing a newer
file renews the cards and keeps what Anki knows about your memory.

Not here: the cards (`distrinews.course.interview_cards`).

Source: Anki's manual, "Importing: text files", its file headers.
Guide: interview/index.
"""

from __future__ import annotations

import html
import pathlib
import re
from collections.abc import Sequence

from distrinews.course.interview_cards import Card, Group, paragraphs
from distrinews.system import files

__all__ = ["COLUMNS", "text", "write"]

COLUMNS = ("guid", "deck", "Front", "Back", "tags")
HEADERS = (
    "#separator:tab",
    "#html:true",
    "#notetype:Basic",
    "#columns:" + "\t".join(COLUMNS),
    "#guid column:1",
    "#deck column:2",
    "#tags column:5",
)


def text(groups: Sequence[Group]) -> str:
    """Write the cards as Anki reads them.

    Args:
        groups: All of them.

    Returns:
        Headers, then a line a card: `COLUMNS`, a tab apart. No field holds a tab, a
        line's end or a double quote: HTML has other words for them.

    Examples:
        >>> from distrinews import interview_cards
        >>> text(interview_cards.read()).splitlines()[0]
        '#separator:tab'
    """
    lines = list(HEADERS)
    for group in groups:
        for card in group.cards:
            front = f"{_shown(card.question)}<br><i>{group.title}, {card.level}</i>"
            lines.append(
                "\t".join((
                    f"distrinews-{card.id}",
                    f"DistriNews::{group.title}",
                    front,
                    _back(card),
                    f"distrinews {group.name} {card.level}",
                ))
            )
    return "\n".join(lines) + "\n"


def _back(card: Card) -> str:
    parts = [
        ("Say", card.short),
        ("Our model", card.number),
        ("Deeper", card.deep),
        (card.follow_up, card.follow_up_answer),
        ("Read", card.page.replace(".md", "")),
        ("Shown by", card.claim),
    ]
    return "<hr>".join(
        "<br><br>".join([f"<b>{_shown(head)}</b>", *map(_shown, paragraphs(told))])
        for head, told in parts
    )


def _shown(told: str) -> str:
    """As HTML; what stands in backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(told))


def write(path: pathlib.Path, groups: Sequence[Group]) -> None:
    """Write the file; it gets its name only when it is complete.

    Args:
        path: Where; an older file is replaced.
        groups: All of them.

    Raises:
        OSError: It could not be written, as the OutputError that names the cure.
    """
    with files.atomic_file(path) as draft:
        draft.write_text(text(groups), encoding="utf-8", newline="\n")
