"""Read the interview cards and fill in their numbers.

The library computes the numbers on the cards (`interview_figures.py` in
`site_docs/_tools` writes `interview_numbers.json`); the cards' files hold the names of
the numbers in braces.

The cards can be written as a file for Anki. A card keeps its id, so that importing a
newer file keeps your progress.

Not here: asking (`distrinews.cli.interview_commands`), the site's pages
(`interview_pages.py`). No torch is loaded here.

Source: Anki's manual, "Importing: text files", its file headers.

Guide: interview/index.
"""

from __future__ import annotations

import html
import pathlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from distrinews.system import files

__all__ = [
    "COLUMNS",
    "GROUPS",
    "LEVELS",
    "NUMBERS",
    "Card",
    "Group",
    "anki_text",
    "numbers",
    "paragraphs",
    "read",
    "write_anki",
]

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

GROUPS = ("basics", "gradients", "data", "speed", "failures", "seniors")
LEVELS = ("junior", "senior", "staff")
HERE = pathlib.Path(__file__).resolve().parent
NUMBERS = HERE / "interview_numbers.json"


@dataclass(frozen=True)
class Card:
    """A question and its answers.

    Attributes:
        id: Its name, also its anchor on the group's page.
        title: A few words for lists.
        level: Who is asked this question: one of `LEVELS`.
        question: The question, as an interviewer asks it.
        short: Two to four sentences to say aloud.
        deep: Paragraphs with what an expert would want to hear.
        follow_up: What the interviewer asks next.
        follow_up_answer: The answer to it.
        page: The page that explains it, with an anchor: `understand/x.md#anchor`.
        proof: The test or lab that proves it: `tests/test_x.py::test_name`, or `lab
            NAME`.
        number: A sentence about our models, with numbers.
    """

    id: str
    title: str
    level: str
    question: str
    short: str
    deep: str
    follow_up: str
    follow_up_answer: str
    page: str
    proof: str
    number: str

    def filled(self, values: Mapping[str, str]) -> Card:
        """Fill in the numbers.

        Args:
            values: Name -> number with its unit.

        Returns:
            The card without braces.

        Raises:
            KeyError: A number is missing.
        """
        texts = {f.name: getattr(self, f.name).format_map(values) for f in fields(self)}
        return Card(**texts)

    @property
    def lab(self) -> str | None:
        """The lab that proves it; None if a test does."""
        kind, _, name = self.proof.partition(" ")
        return name if kind == "lab" else None

    @property
    def claim(self) -> str:
        """The proof, in words."""
        if self.lab is not None:
            return f"lab `{self.lab}`: python -m distrinews lab run {self.lab}"
        path, _, test = self.proof.partition("::")
        return f"{path}: {test.removeprefix('test_').replace('_', ' ')}"


@dataclass(frozen=True)
class Group:
    """Cards about one subject.

    Attributes:
        name: One of `GROUPS`.
        title: The subject, in words.
        about: Its contents, in a sentence.
        cards: In the order in which to learn them.
    """

    name: str
    title: str
    about: str
    cards: tuple[Card, ...]


def read(*, raw: bool = False) -> list[Group]:
    """Read all cards.

    Args:
        raw: Keep the names of the numbers in braces.

    Returns:
        The groups, in order.

    Examples:
        >>> groups = read()
        >>> sum(len(group.cards) for group in groups) >= 60
        True
    """
    values = None if raw else numbers()
    return [_read_group(name, values) for name in GROUPS]


def _read_group(name: str, values: Mapping[str, str] | None) -> Group:
    path = HERE / f"interview_{name}.toml"
    content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    cards = [Card(**_joined_lines(card)) for card in content["card"]]
    if values is not None:
        cards = [card.filled(values) for card in cards]
    return Group(name, content["title"], content["about"], tuple(cards))


def _joined_lines(card: Mapping[str, str]) -> dict[str, str]:
    """Each paragraph on one line, paragraphs a blank line apart."""
    return {name: "\n\n".join(paragraphs(text)) for name, text in card.items()}


def numbers() -> dict[str, str]:
    """Read the numbers that `site_docs/_tools/interview_figures.py` computed.

    Returns:
        Name -> number with its unit.

    Examples:
        >>> numbers()["distilbert_gradients"]
        '268 MB'
    """
    values: dict[str, str] = files.read_json(NUMBERS)
    return values


def paragraphs(text: str) -> list[str]:
    r"""Split a text at its blank lines.

    Args:
        text: A card's text.

    Returns:
        Its paragraphs, each on one line.

    Examples:
        >>> paragraphs("One,\ntwo.\n\nThree.")
        ['One, two.', 'Three.']
    """
    return [" ".join(part.split()) for part in text.strip().split("\n\n")]


def anki_text(groups: Sequence[Group]) -> str:
    """Format the cards as Anki reads them.

    Args:
        groups: All of them.

    Returns:
        Headers, then one line per card: `COLUMNS`, separated by tabs. No field contains
        a tab, a line break or a double quote; they are written in HTML.

    Examples:
        >>> anki_text(read()).splitlines()[0]
        '#separator:tab'
    """
    lines = list(HEADERS)
    for group in groups:
        for card in group.cards:
            front = f"{_as_html(card.question)}<br><i>{group.title}, {card.level}</i>"
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
        "<br><br>".join([
            f"<b>{_as_html(heading)}</b>",
            *map(_as_html, paragraphs(text)),
        ])
        for heading, text in parts
    )


def _as_html(text: str) -> str:
    """The text as HTML, with backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def write_anki(path: pathlib.Path, groups: Sequence[Group]) -> None:
    """Write the file under its name only when it is complete.

    Args:
        path: The file; an older one is replaced.
        groups: All of them.

    Raises:
        OSError: It could not be written; raised as the OutputError that names the cure.
    """
    with files.atomic_file(path) as draft:
        draft.write_text(anki_text(groups), encoding="utf-8", newline="\n")
