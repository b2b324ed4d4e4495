"""`python -m distrinews`: use a trained model from the command line.

Not here: what the commands do (`distrinews.commands`), training (`chapters/`).

Guide: reference/command-line.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from distrinews import __version__, console

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name."""
    # WHY no heavy import above: `--help` and a mistyped command answer at once.
    console.quiet_interrupts()
    console.run(lambda: _dispatch(sys.argv[1:]))


def _dispatch(arguments: Sequence[str]) -> None:
    given = _parser().parse_args(arguments)
    from distrinews import commands  # loads torch

    if given.command == "predict":
        commands.predict(given.model, texts=given.texts)
    elif given.command == "benchmark":
        commands.benchmark(given.what, arguments=given.flags)
    else:
        commands.evaluate(given)


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

    # WHY no help of its own: each measurement has its own flags, and lists them.
    benchmark = commands.add_parser(
        "benchmark", help="measure, or compare two measurements", add_help=False
    )
    benchmark.add_argument(
        "what",
        choices=("averaging", "balance", "data", "peers", "compare"),
        help="--help after it lists its flags",
    )
    benchmark.add_argument("flags", nargs=argparse.REMAINDER)
    return parser


if __name__ == "__main__":
    main()
