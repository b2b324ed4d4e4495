"""The words after `python -m distrinews` for practising: lab, exercise, interview.

Promise: as in `distrinews.cli.parser`, a command loads what it needs only when it
runs; none of this needs torch to be listed or mistyped.

Not here: what the commands do (`distrinews.cli.lab_commands`, `.exercise_desk`, `.interview`).

Guide: reference/command-line.
"""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the three commands to the parser of all.

    Args:
        commands: What argparse's `add_subparsers` gave.
    """
    _add_lab(commands)
    _add_exercise(commands)
    _add_interview(commands)


def _add_lab(commands: Any) -> None:
    lab = commands.add_parser("lab", help="DDP's classic failures, safely: break, fix")
    lab.set_defaults(answer=_lab)
    acts = lab.add_subparsers(dest="act", required=True)
    acts.add_parser("list", help="names, silent or loud, seconds")
    for act, about in (
        ("run", "play the broken version: see the symptom"),
        ("fix", "show the cure as a diff, and play it"),
        ("check", "let the lab's detector judge your version"),
    ):
        acts.add_parser(act, help=about).add_argument("name")
    acts.choices["check"].add_argument("--file", help="your copy of the lab's file")
    capture = acts.add_parser("capture", help="(developers) write the real output down")
    capture.add_argument("names", nargs="*", help="none: all")


def _lab(given: argparse.Namespace) -> int:
    from distrinews.cli import lab_commands

    return lab_commands.serve(given)


def _add_exercise(commands: Any) -> None:
    about = "write pieces of distributed training; real processes grade them"
    exercise = commands.add_parser("exercise", help=about)
    exercise.set_defaults(answer=_exercise)
    acts = exercise.add_subparsers(dest="act", required=True, metavar="ACT")
    acts.add_parser("list", help="names, levels, what you have passed")
    for act, about in (
        ("start", "copy an exercise into my_exercises/"),
        ("hint", "the next hint of three"),
        ("check", "let real processes grade your solution"),
        ("solution", "show ours"),
    ):
        acts.add_parser(act, help=about).add_argument("name")
    acts.choices["check"].add_argument(
        "--file", help="your solution [default: my_exercises/NAME.py]"
    )
    # WHY without help: `check` runs it in a process of its own, nobody types it.
    perform = acts.add_parser("perform")
    for word in ("check", "solution", "folder"):
        perform.add_argument(word)


def _exercise(given: argparse.Namespace) -> int:
    from distrinews.cli import exercise_commands

    return exercise_commands.serve(given)


def _add_interview(commands: Any) -> None:
    from distrinews.course import interview_cards

    about = "questions about DDP as cards, with answers to say aloud"
    interview = commands.add_parser("interview", help=about)
    interview.set_defaults(answer=_interview)
    interview.add_argument(
        "--group", choices=interview_cards.GROUPS, help="only these [default: all]"
    )
    interview.add_argument(
        "--level", choices=interview_cards.LEVELS, help="only these [default: all]"
    )
    interview.add_argument("--shuffle", action="store_true", help="in any order")
    interview.add_argument("--seed", type=int, help="in this random order")
    interview.add_argument("--list", action="store_true", help="titles; ask nothing")
    interview.add_argument(
        "--anki", type=pathlib.Path, help="write all cards as a file for Anki here"
    )


def _interview(given: argparse.Namespace) -> int:
    from distrinews.cli import interview_commands

    return interview_commands.serve(given)
