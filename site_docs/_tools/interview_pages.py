"""Write the interview's pages, its numbers and the file for Anki, from the cards.

The cards stand in `distrinews/course/interview_*.toml`. This tool writes

- `distrinews/course/interview_numbers.json`: every number, computed by the library;
- `site_docs/interview/GROUP.md`, a page for each group;
- the block `<!-- interview -->`, the list of all questions;
- `site_docs/interview/distrinews-anki.txt`.
"""

from __future__ import annotations

import functools
import json
import pathlib
import textwrap
from dataclasses import replace

import interview_figures
from records import SITE

from distrinews.course import interview_cards
from distrinews.course.interview_cards import Card, Group, paragraphs

FOLDER = SITE / "interview"
WIDTH = 100


_numbers = functools.cache(interview_figures.figures)


def _groups() -> list[Group]:
    """The cards, with the numbers as they are computed now."""
    return [
        replace(group, cards=tuple(card.filled(_numbers()) for card in group.cards))
        for group in interview_cards.read(raw=True)
    ]


def files() -> dict[pathlib.Path, str]:
    """Every file that the cards make."""
    groups = _groups()
    return {
        interview_cards.NUMBERS: json.dumps(_numbers(), indent=2) + "\n",
        FOLDER / "distrinews-anki.txt": interview_cards.anki_text(groups),
    } | {FOLDER / f"{group.name}.md": page(group) for group in groups}


def _questions(_: str) -> str:
    """All questions, by group, each with a link to its card."""
    parts = []
    for group in _groups():
        parts.append(f"### [{group.title}]({group.name}.md)")
        parts.append(f"{group.about} {len(group.cards)} cards.")
        lines = [
            f"- [{card.title}]({group.name}.md#{card.id}) ({card.level})"
            for card in group.cards
        ]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


# WHY: a link or an option must stay one word, or Markdown reads something else.
_WORDS = {"break_on_hyphens": False, "break_long_words": False}


def page(group: Group) -> str:
    """A group's page.

    Args:
        group: Of cards.

    Returns:
        Markdown.
    """
    head = (
        # The search shows the page that explains before the card that asks.
        "---\nsearch:\n  boost: 0.4\n---\n"
        f"# {group.title}\n\n<!-- Written by site_docs/_tools/interview_pages.py from "
        f"distrinews/course/interview_{group.name}.toml: edit that. -->\n\n"
        f"{group.about} Answer aloud, then open the card. In the terminal: "
        f"`python -m distrinews interview --group {group.name}`."
    )
    return "\n\n".join([head, *map(_card, group.cards)]) + "\n"


def _card(card: Card) -> str:
    claim_kind, _, rest = card.claim.partition(": ")
    claim = f"`{rest}`" if card.lab else f"`{claim_kind}`: {rest}"
    page_name = card.page.partition("#")[0].removesuffix(".md")
    link = f"[{page_name}](../{card.page})"
    parts = [
        *_labelled("Say.", card.short),
        *_labelled("Our model.", card.number),
        *_labelled("Deeper.", card.deep),
        f'??? question "{card.follow_up}"\n\n'
        + textwrap.indent("\n\n".join(_wrapped(card.follow_up_answer)), " " * 4),
        *_wrapped(f"Read {link}. Shown by {'lab ' if card.lab else ''}{claim}."),
    ]
    body = textwrap.indent("\n\n".join(parts), " " * 4)
    return (
        f"## {card.title} {{ #{card.id} }}\n\n"
        f'??? question "{card.question} ({card.level})"\n\n{body}'
    )


def _labelled(label: str, text: str) -> list[str]:
    """Paragraphs, the first led by a bold word."""
    return _wrapped(f"**{label}** {text}")


def _wrapped(text: str) -> list[str]:
    return [textwrap.fill(part, WIDTH - 4, **_WORDS) for part in paragraphs(text)]


BLOCKS = {"interview": _questions}
