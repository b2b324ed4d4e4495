"""`python -m distrinews`: use a trained model, look at this machine, find a cure.

Not here: what the commands do (`distrinews.commands`), training (`chapters/`).

Guide: reference/command-line.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from distrinews import __version__, console
from distrinews.errors import SettingsError

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name."""
    # WHY no heavy import above: `--help` and a mistyped command answer at once.
    console.quiet_interrupts()
    console.run(lambda: _dispatch(sys.argv[1:]))


def _dispatch(arguments: Sequence[str]) -> None:
    given = _parser().parse_args(arguments)
    if given.command == "doctor":
        sys.exit(_doctor(given))  # never loads torch: it may be what is broken
    if given.command == "lab":
        from distrinews import lab_desk

        sys.exit(lab_desk.serve(given))
    from distrinews import commands  # loads torch

    if given.command == "predict":
        commands.predict(given.model, texts=given.texts)
    elif given.command == "benchmark":
        commands.benchmark(given.what, arguments=given.flags)
    else:
        commands.evaluate(given)


def _doctor(given: argparse.Namespace) -> int:
    """The exit code: 0 if this machine is fit, or the pasted text is known."""
    if given.what == "match":
        from distrinews import matching

        found = matching.match(_pasted(given.path))
        print(matching.describe(found, as_json=given.json))
        return int(not found)
    from distrinews import doctor

    findings = doctor.examine()
    print(doctor.describe(findings, as_json=given.json))
    return doctor.exit_code(findings)


def _pasted(path: pathlib.Path | None) -> str:
    """The text to look at, as UTF-8 on every system."""
    if path is not None:
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise SettingsError(
                f"{path} cannot be read: {error.strerror}.",
                why="there is no text to look at.",
                fix="python -m distrinews doctor match FILE, or paste into it.",
                page="settings",
            ) from None
    if sys.stdin.isatty():
        key = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"
        print(f"Paste the text, then a new line and {key}:", file=sys.stderr)
    return sys.stdin.buffer.read().decode("utf-8", errors="replace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="distrinews", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)

    predict = commands.add_parser(
        "predict", help="label and probabilities for texts, one line each"
    )
    predict.add_argument(
        "--model", required=True, help="a run folder (runs/NAME) or an export"
    )
    predict.add_argument(
        "texts", nargs="*", help="headlines; none: one per line of standard input"
    )

    evaluate = commands.add_parser(
        "evaluate", help="exact accuracy of a model on test rows, over N ranks"
    )
    evaluate.add_argument(
        "--model", required=True, help="a run folder (runs/NAME) or an export"
    )
    evaluate.add_argument("--data", default="newswire", help="as in chapter 05")
    evaluate.add_argument("--test-rows", type=int, help="rows [default: all]")
    evaluate.add_argument("--seed", type=int, default=0, help="chooses the rows")
    evaluate.add_argument("--num-ranks", type=int, default=1, help="processes")
    evaluate.add_argument(
        "--raw", action="store_true", help="leave AG News' broken characters as is"
    )
    evaluate.add_argument("--json", type=pathlib.Path, help="also write it here")

    doctor = commands.add_parser(
        "doctor", help="look at this machine, or find the cure for a pasted error"
    )
    doctor.add_argument(
        "what",
        nargs="?",
        choices=("machine", "match"),
        default="machine",
        help="match: find a traceback's entry [default: machine]",
    )
    doctor.add_argument(
        "path", nargs="?", type=pathlib.Path, help="the text [default: standard input]"
    )
    doctor.add_argument("--json", action="store_true", help="for programs")

    lab = commands.add_parser("lab", help="DDP's classic failures, safely: break, fix")
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

    # WHY no help of its own: each measurement has its own flags, and lists them.
    benchmark = commands.add_parser(
        "benchmark", help="measure, or compare two measurements", add_help=False
    )
    benchmark.add_argument(
        "what", choices=("averaging", "compare"), help="--help after it lists its flags"
    )
    benchmark.add_argument("flags", nargs=argparse.REMAINDER)
    return parser


if __name__ == "__main__":
    main()
