"""`python -m distrinews`: use a trained model from the command line.

Not here: training (`chapters/`).

Guide: reference/command-line.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from distrinews import __version__, console

if TYPE_CHECKING:
    from distrinews.dist import Ranks

__all__ = ["main"]


def main() -> None:
    """Run the command that the arguments name."""
    # WHY no heavy import above: `--help` and a mistyped command answer at once.
    console.quiet_interrupts()
    console.run(lambda: _dispatch(sys.argv[1:]))


def _dispatch(arguments: Sequence[str]) -> None:
    given = _parser().parse_args(arguments)
    if given.command == "predict":
        _predict(given.model, given.texts)
    else:
        _start_evaluation(given)


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
    return parser


def _predict(folder: str, texts: Sequence[str]) -> None:
    from distrinews.inference import Classifier

    classifier = Classifier(folder)
    for text in texts or _lines():
        [answer] = classifier.predict([text])
        scores = "  ".join(f"{name} {p:.4f}" for name, p in answer.scores.items())
        cut = "  (only its beginning was read)" if answer.truncated else ""
        print(f"{answer.label}\t{scores}\t{' '.join(text.split())}{cut}", flush=True)


def _lines() -> Iterator[str]:
    """Lines of standard input, as UTF-8 on every system; blank ones are skipped."""
    # WHY not sys.stdin: on Windows it decodes a pipe with the console's code page, and
    # a foreign headline would arrive garbled or not at all.
    for line in sys.stdin.buffer:
        text = line.decode("utf-8", errors="replace").strip()
        if text:
            yield text


def _start_evaluation(given: argparse.Namespace) -> None:
    from distrinews import dist, sources
    from distrinews.settings import NEWSWIRE_ROWS

    if given.data == "newswire" and given.test_rows is None:
        given.test_rows = NEWSWIRE_ROWS["test"]
    sources.open_source(given.data, repaired=not given.raw).check()
    dist.launch(_evaluate, given, num_ranks=given.num_ranks)


def _evaluate(ranks: Ranks, given: argparse.Namespace) -> None:
    """One rank's part; the counts are added up, so any number of ranks agrees."""
    from distrinews import data, dist, files, sources
    from distrinews.evaluation import evaluate
    from distrinews.inference import Classifier

    with dist.raise_together():
        classifier = Classifier(given.model)
    table = data.tokenise(
        sources.open_source(given.data, repaired=not given.raw),
        "test",
        tokenizer=classifier.tokenizer,
        num_rows=given.test_rows,
        seed=given.seed,
    )
    tally = evaluate(classifier.net, table, ranks, title="evaluate")
    with dist.raise_together():
        if ranks.is_main and given.json:
            files.write_json(given.json, tally.as_dict())
    if ranks.is_main:
        print(json.dumps(tally.as_dict(), indent=1))


if __name__ == "__main__":
    main()
