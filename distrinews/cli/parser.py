"""Subcommands of `python -m distrinews`, their arguments and handlers.

Promise: `--help` and a mistyped word answer at once, because a command loads what it
needs only when it runs; the doctor never loads torch, which may be what is broken.

WHY argparse and not pydantic-settings, which reads the flags of chapters and
measurements: it cuts a list of words at commas and refuses quotation marks, so that
`predict` would take a headline apart; and the doctor must work without pydantic.

Not here: what the commands do (`distrinews.cli.model_commands` and its neighbours,
`distrinews.doctor`).

Guide: reference/command-line.
"""

from __future__ import annotations

import argparse
import importlib
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from distrinews import __version__
from distrinews.system import checkout

__all__ = ["MEASUREMENTS", "parser", "run"]

MODEL = "a run folder (runs/NAME) or an export"
FROM_RUN = "[default: as in the run that made the model]"
MEASUREMENTS = (
    *("averaging", "balance", "calibrate", "data", "limit", "peers", "predict"),
    "trace",
    *("compare", "check"),
)


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name.

    Args:
        arguments: What follows the program's name.

    Returns:
        The exit code.
    """
    args = parser().parse_args(arguments)
    handler: Callable[[argparse.Namespace], int | None] = args.handler
    # WHY: `evaluate` sends its arguments to the ranks, and pickle refuses a lambda.
    del args.handler
    return handler(args) or 0


def parser() -> argparse.ArgumentParser:
    """Every command with its arguments; the reference is written from it.

    Returns:
        The parser; what it parses has `handler`, the function to call.

    Examples:
        >>> parser().parse_args(["doctor", "match", "error.txt"]).what
        'match'
    """
    top = argparse.ArgumentParser(
        prog="distrinews",
        description="Use a trained model, look at this machine, find a cure, measure.",
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True)
    for add_command in (
        *(_add_predict, _add_evaluate, _add_export, _add_space, _add_kaggle),
        *(_add_doctor, _add_lab, _add_exercise, _add_interview),
        *(_add_benchmark, _add_docs),
    ):
        add_command(commands)
    return top


def _load(name: str) -> Any:
    """A neighbour of this module; it is loaded only when its command runs."""
    return importlib.import_module(f"distrinews.cli.{name}_commands")


# --- A trained model --------------------------------------------------------------


def _add_predict(commands: Any) -> None:
    about = "label and probabilities for texts, one line each"
    predict = commands.add_parser("predict", help=about)
    predict.set_defaults(
        handler=lambda args: _load("model").predict(args.model, texts=args.texts)
    )
    predict.add_argument("--model", required=True, help=MODEL)
    predict.add_argument(
        "texts", nargs="*", help="headlines; none: one per line of standard input"
    )


def _add_columns(command: Any) -> None:
    for flag in ("--text-columns", "--label-column"):
        command.add_argument(flag, help=f"as in chapter 05 {FROM_RUN}")


def _add_evaluate(commands: Any) -> None:
    about = "exact accuracy of a model on test rows, over N ranks"
    evaluate = commands.add_parser("evaluate", help=about)
    evaluate.set_defaults(handler=lambda args: _load("model").evaluate(args))
    evaluate.add_argument("--model", required=True, help=MODEL)
    evaluate.add_argument("--data", help=f"as in chapter 05 {FROM_RUN}")
    _add_columns(evaluate)
    evaluate.add_argument(
        "--test-rows", type=int, help="rows [default: the run's; of other data all]"
    )
    evaluate.add_argument(
        "--seed", type=int, help="chooses the rows [default: the run's, or 0]"
    )
    evaluate.add_argument("--num-ranks", type=int, default=1, help="processes")
    evaluate.add_argument(
        "--raw", action="store_true", help="leave AG News' broken characters as is"
    )
    evaluate.add_argument("--json", type=pathlib.Path, help="also write it here")


def _add_export(commands: Any) -> None:
    about = "a model for another engine, or the folder of a model repository"
    export = commands.add_parser("export", help=about)
    export.set_defaults(handler=lambda args: _load("model").export(args))
    export.add_argument("--model", required=True, help=MODEL)
    export.add_argument(
        "--engine",
        action="append",
        choices=("onnx-float32", "onnx-int8"),
        help="make this model and compare it with torch float32; may be repeated",
    )
    export.add_argument(
        "--out", type=pathlib.Path, help="copy the ONNX file here [default: beside it]"
    )
    export.add_argument(
        "--hub", type=pathlib.Path, help="write the folder of a model repository here"
    )
    export.add_argument("--data", help=f"compare on its test rows {FROM_RUN}")
    _add_columns(export)
    export.add_argument(
        "--test-rows", type=int, help="rows [default: 1000; of a file all]"
    )
    export.add_argument("--report", type=pathlib.Path, help="also write it as JSON")


def _add_space(commands: Any) -> None:
    space = commands.add_parser("space", help="put the app on Hugging Face Spaces")
    build = space.add_subparsers(dest="what", required=True).add_parser(
        "build", help="make the folder of a Space, to be pushed as it is"
    )
    build.set_defaults(
        handler=lambda args: checkout.load("apps/space/space.py").make(args)
    )
    build.add_argument(
        "--model",
        required=True,
        help="a repository on the Hub (USER/NAME), or a run folder or an export",
    )
    build.add_argument("--revision", help="the repository's commit, 40 digits")
    build.add_argument("--out", required=True, type=pathlib.Path, help="a new folder")
    build.add_argument(
        "--hardware",
        required=True,
        choices=("cpu", "zerogpu", "static"),
        help="of the Space; static: none, the visitor's browser computes",
    )
    build.add_argument(
        "--vendor",
        action="store_true",
        help="static: put the browser's runtime into the folder, from npm",
    )


def _add_kaggle(commands: Any) -> None:
    kaggle = commands.add_parser("kaggle", help="train on Kaggle's GPUs")
    pack = kaggle.add_subparsers(dest="what", required=True).add_parser(
        "pack", help="make the data set that its notebook installs from, without a net"
    )
    pack.set_defaults(
        handler=lambda args: checkout.load("apps/kaggle/kaggle_wheelhouse.py").make(
            args
        )
    )
    pack.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("dist/kaggle"),
        help="a new folder [default: dist/kaggle]",
    )


# --- Trouble ----------------------------------------------------------------------


def _add_doctor(commands: Any) -> None:
    about = "look at this machine, or find the cure for a pasted error"
    doctor = commands.add_parser("doctor", help=about)
    doctor.set_defaults(handler=_doctor)
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


def _doctor(args: argparse.Namespace) -> int:
    """The exit code: 0 if this machine is fit, or the pasted text is known."""
    if args.what == "match":
        from distrinews.doctor import matching
        from distrinews.doctor.nearest import nearest

        text = matching.read_text(args.path)
        matches = matching.match(text)
        perhaps = [] if matches else nearest(text)
        print(matching.describe(matches, perhaps=perhaps, as_json=args.json))
        return int(not matches)
    from distrinews.doctor import examination

    findings = examination.examine()
    print(examination.describe(findings, as_json=args.json))
    return examination.exit_code(findings)


# --- Labs, exercises, interview --------------------------------------------------


def _add_lab(commands: Any) -> None:
    lab = commands.add_parser("lab", help="DDP's classic failures, safely: break, fix")
    lab.set_defaults(handler=lambda args: _load("lab").run(args))
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


def _add_exercise(commands: Any) -> None:
    about = "write pieces of distributed training; real processes grade them"
    exercise = commands.add_parser("exercise", help=about)
    exercise.set_defaults(handler=lambda args: _load("exercise").run(args))
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
    run_check = acts.add_parser("run-check")
    for name in ("check", "solution", "folder"):
        run_check.add_argument(name)


def _add_interview(commands: Any) -> None:
    from distrinews.course import interview_cards

    about = "questions about DDP as cards, with answers to say aloud"
    interview = commands.add_parser("interview", help=about)
    interview.set_defaults(handler=lambda args: _load("interview").run(args))
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


# --- Measuring, and the guide ------------------------------------------------------


def _add_benchmark(commands: Any) -> None:
    # WHY no help of its own: each measurement has its own flags, and lists them.
    benchmark = commands.add_parser(
        "benchmark", help="measure, or compare two measurements", add_help=False
    )
    benchmark.set_defaults(
        handler=lambda args: _load("benchmark").measure(args.what, arguments=args.flags)
    )
    benchmark.add_argument(
        "what", choices=MEASUREMENTS, help="--help after it lists its flags"
    )
    benchmark.add_argument("flags", nargs=argparse.REMAINDER)


def _add_docs(commands: Any) -> None:
    # WHY no prefix: its flags are a settings model's, which reads them and lists them.
    docs = commands.add_parser(
        "docs", help="build this guide, look at it", add_help=False, prefix_chars=" "
    )
    docs.set_defaults(
        handler=lambda args: checkout.load("site_docs/_tools/docs_site.py").build(
            args.flags
        )
    )
    docs.add_argument("flags", nargs="*")
