"""The command `python -m distrinews interview`: cards in the terminal.

It shows a question and waits. A card that you did not know comes again in this session,
and first in the next one. Your answers are saved in a file next to your exercises.
Without a terminal the command prints all cards and asks nothing.

Not here: the cards (`distrinews.course.interview_cards`). No torch is loaded.

Guide: interview/index.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
import random
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from distrinews.course import interview_cards
from distrinews.course.interview_cards import Card, Group, paragraphs
from distrinews.errors import InterviewError
from distrinews.system import files

__all__ = ["Progress", "run"]

PROGRESS = pathlib.Path("my_exercises") / "interview.json"
WIDTH = 80  # characters per line
MENU = "[d] deeper  [f] follow-up  did you know it? [y] yes  [n] no  [q] quit: "
GroupedCard = tuple[Group, Card]


class Progress:
    """Which cards you knew the last time.

    Args:
        path: The file; it is created with the first answer.

    Raises:
        InterviewError: The file exists but is not one of this class.

    Examples:
        >>> Progress(pathlib.Path("no_such_file.json")).knew("barrier") is None
        True
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._cards: dict[str, dict[str, Any]] = {}
        if path.is_file():
            self._cards = _read(path)

    def knew(self, name: str) -> bool | None:
        """Say whether a card was known.

        Args:
            name: The card's id.

        Returns:
            None if it was never asked.
        """
        known: bool | None = self._cards.get(name, {}).get("knew")
        return known

    def note(self, name: str, *, knew: bool) -> None:
        """Save an answer at once.

        Args:
            name: The card's id.
            knew: Whether it was known.

        Raises:
            OSError: It could not be written, as the OutputError that names the cure.
        """
        times = int(self._cards.get(name, {}).get("times", 0)) + 1
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        self._cards[name] = {"knew": knew, "times": times, "last": today}
        files.write_json(self.path, self._cards)


def _read(path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """The file's content, if it is valid."""
    try:
        cards = files.read_json(path)
    except (OSError, ValueError):
        cards = None
    # Check the fields too: a file that an editor damaged must not be overwritten.
    is_valid = isinstance(cards, dict) and all(
        isinstance(card, dict)
        and isinstance(card.get("knew"), bool)
        and type(card.get("times")) is int
        for card in cards.values()
    )
    if not is_valid:
        raise InterviewError(
            f"{path.as_posix()} is not a file of answers.",
            why="it does not say which cards you know, and writing would destroy it.",
            fix=f"repair or rename {path.as_posix()}; without it you start from zero.",
            page="interview",
        )
    checked: dict[str, dict[str, Any]] = cards
    return checked


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: `group`, `level`, `shuffle`, `seed`, `list`, `anki`.

    Returns:
        The exit code.

    Raises:
        InterviewError: No card is of that group and level, or the file of answers is
            damaged.
        OSError: A file could not be written; raised as the OutputError that names the
            cure.
    """
    groups = interview_cards.read()
    if args.anki is not None:
        interview_cards.write_anki(args.anki, groups)
        print(f"{args.anki.as_posix()}: {_count(groups)} cards. In Anki: File, Import")
        return 0
    chosen = _choose(groups, args)
    progress = Progress(PROGRESS)
    if args.list:
        return _list(chosen, progress)
    if args.shuffle or args.seed is not None:
        random.Random(args.seed).shuffle(chosen)
    # Both, because with output to a file the user would not see the prompt.
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("\n\n".join(_card_text(group, card) for group, card in chosen))
        return 0
    _drill(_in_order(chosen, progress), progress)
    return 0


def _count(groups: Sequence[Group]) -> int:
    return sum(len(group.cards) for group in groups)


def _choose(groups: Sequence[Group], args: argparse.Namespace) -> list[GroupedCard]:
    """The cards of a group, a level or both; without a choice, all cards."""
    chosen = [
        (group, card)
        for group in groups
        if args.group in (None, group.name)
        for card in group.cards
        if args.level in (None, card.level)
    ]
    if not chosen:
        raise InterviewError(
            f"no card of group {args.group} has level {args.level}.",
            why="there is nothing to ask.",
            fix=f"python -m distrinews interview --group {args.group} --list",
            page="interview",
        )
    return chosen


def _list(chosen: Sequence[GroupedCard], progress: Progress) -> int:
    """Print one line per card, and the progress."""
    marks = {None: "new", True: "known", False: "again"}
    width = max(len(card.id) for _, card in chosen)
    for group, card in chosen:
        mark = marks[progress.knew(card.id)]
        print(f"{mark:5}  {group.name:9}  {card.level:6}  {card.id:{width}}", end="")
        print(f"  {card.title}")
    known = sum(progress.knew(card.id) is True for _, card in chosen)
    print(f"\n{known} of {len(chosen)} known")
    return 0


def _in_order(chosen: Sequence[GroupedCard], progress: Progress) -> list[GroupedCard]:
    """Cards that were not known first, then new ones, then the rest."""
    priority = {False: 0, None: 1, True: 2}
    return sorted(chosen, key=lambda item: priority[progress.knew(item[1].id)])


def _drill(
    chosen: Sequence[GroupedCard],
    progress: Progress,
    *,
    ask: Callable[[str], str] = input,
) -> None:
    """Ask each card; cards that were not known come again at the end."""
    remaining = collections.deque(chosen)
    known: set[str] = set()
    print(f"{len(chosen)} cards. Answer aloud, then look. Ctrl-C or q ends.")
    while remaining:
        group, card = remaining.popleft()
        print(f"\n--- {group.title}, {card.level}; {len(remaining)} more after this")
        print(_wrap(card.question))
        try:
            knew = _ask(card, ask)
        except EOFError:  # Ctrl-D
            knew = None
        if knew is None:
            break
        progress.note(card.id, knew=knew)
        if knew:
            known.add(card.id)
        else:
            remaining.append((group, card))
    print(f"\n{len(known)} of {len(chosen)} known; saved in {progress.path.as_posix()}")


def _ask(card: Card, ask: Callable[[str], str]) -> bool | None:
    """Show one card step by step; return whether it was known, None to stop."""
    if ask("\n[Enter] ").strip().lower() == "q":
        return None
    print(_wrap(card.short))
    print(_wrap(f"Our model: {card.number}"))
    while True:
        answer = ask(f"\n{MENU}").strip().lower()
        if answer in {"y", "n", "q"}:
            return {"y": True, "n": False}.get(answer)
        if answer == "d":
            print(_wrap(card.deep))
            print(_wrap(f"Read: {card.page}\n\nShown by {card.claim}"))
        elif answer == "f":
            print(_wrap(card.follow_up))
            if ask("\n[Enter] ").strip().lower() == "q":
                return None
            print(_wrap(card.follow_up_answer))


def _card_text(group: Group, card: Card) -> str:
    """A whole card, as lines for a terminal."""
    parts = (
        f"Q: {card.question}",
        f"Say: {card.short}",
        f"Our model: {card.number}",
        f"Deeper: {card.deep}",
        f"Then: {card.follow_up}",
        f"Say: {card.follow_up_answer}",
        f"Read: {card.page}\n\nShown by {card.claim}",
    )
    heading = f"--- {group.title}, {card.level}: {card.id}"
    return "\n".join([heading, *map(_wrap, parts)])


def _wrap(text: str) -> str:
    """Paragraphs in lines of a terminal, with a blank line before them."""
    lines = (
        # No breaks at hyphens: `--max-restarts` must stay one word.
        textwrap.fill(part, WIDTH, break_on_hyphens=False, break_long_words=False)
        for part in paragraphs(text)
    )
    return "\n" + "\n\n".join(lines)
