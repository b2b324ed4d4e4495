"""Write the interview's pages, its numbers and the file for Anki, from the cards.

The cards stand in `distrinews/course/interview_*.toml`. This tool writes

- `distrinews/course/interview_numbers.json`: every number, computed by the library;
- `site_docs/interview/GROUP.md`, a page for each group;
- the list of all questions in `site_docs/interview/index.md`, between its markers;
- `site_docs/interview/distrinews-anki.txt`.

`python site_docs/_tools/interview_pages.py` renews them; with `--check` it only says
which are stale, with exit code 1.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
import textwrap
from dataclasses import replace

import interview_figures
import renewal
from renewal import ROOT

from distrinews.course import interview_cards
from distrinews.course.interview_cards import Card, Group, paragraphs

FOLDER = ROOT / "site_docs" / "interview"
BLOCK = re.compile(r"(<!-- interview cards -->\n).*?(<!-- end -->)", re.DOTALL)
WIDTH = 100


def renewed() -> dict[pathlib.Path, str]:
    """Every file that this tool writes, as it should be.

    Returns:
        Text by path.
    """
    numbers = interview_figures.figures()
    groups = [
        replace(group, cards=tuple(card.filled(numbers) for card in group.cards))
        for group in interview_cards.read(raw=True)
    ]
    index = FOLDER / "index.md"
    before = index.read_text(encoding="utf-8")
    return {
        interview_cards.NUMBERS: json.dumps(numbers, indent=2) + "\n",
        index: BLOCK.sub(lambda m: f"{m[1]}\n{questions(groups)}\n\n{m[2]}", before),
        FOLDER / "distrinews-anki.txt": interview_cards.anki_text(groups),
    } | {FOLDER / f"{group.name}.md": page(group) for group in groups}


def questions(groups: list[Group]) -> str:
    """All questions, by group, each with a link to its card.

    Args:
        groups: Of cards.

    Returns:
        Markdown.
    """
    parts = []
    for group in groups:
        parts.append(f"### [{group.title}]({group.name}.md)")
        parts.append(f"{group.about} {len(group.cards)} cards.")
        lines = [
            f"- [{card.title}]({group.name}.md#{card.id}) ({card.level}): "
            + card.question
            for card in group.cards
        ]
        parts.append("\n".join(map(_item, lines)))
    return "\n\n".join(parts)


def _item(line: str) -> str:
    return textwrap.fill(line, WIDTH, subsequent_indent="  ", **_WORDS)


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


def main() -> int:
    """Renew or check all files.

    Returns:
        The exit code.
    """
    return renewal.finish(renewed().items())


if __name__ == "__main__":
    sys.exit(main())
