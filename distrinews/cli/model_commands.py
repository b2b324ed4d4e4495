"""What `python -m distrinews` does with a trained model: predict, evaluate, export.

Promise: each command prints its result on standard output and nothing else there, so
that it can be piped on.

Not here: the arguments (`distrinews.cli.parser`), measuring
(`distrinews.cli.benchmark_commands`). This is a module of its own because spawned ranks
find their function by importing its module, and `__main__` is theirs.

Guide: reference/command-line.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Sequence

from distrinews import dist
from distrinews.bench import results
from distrinews.cli import judging_rows
from distrinews.config.settings import NEWSWIRE_ROWS
from distrinews.data import sources, tokenised
from distrinews.dist import Ranks
from distrinews.errors import SettingsError
from distrinews.inference import bundle, onnx_export, parity
from distrinews.inference.classifier import Classifier
from distrinews.system import files, machine
from distrinews.training import evaluate_table
from distrinews.training import export as publishing

__all__ = ["evaluate", "export", "predict"]


def predict(folder: str, *, texts: Sequence[str]) -> None:
    """Print label and probabilities of each text, one line each.

    Args:
        folder: A run folder or an export.
        texts: Headlines; none: the lines of standard input, blank ones skipped.

    Raises:
        ModelError: No intact export there, or a text without characters.
    """
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


def evaluate(args: argparse.Namespace) -> None:
    """Print a model's exact figures on test rows, as JSON.

    Args:
        args: `model`, `data`, `text_columns`, `label_column`, `test_rows`, `seed`,
            `num_ranks`, `raw`, `json`. What is None follows the run.

    Raises:
        DistriNewsError: Model or data are missing or malformed.
    """
    model_bundle = bundle.open_bundle(args.model)
    judging_rows.follow_run(args, model_bundle)
    args.model_classes = model_bundle.labels
    if args.data == "newswire" and args.test_rows is None:
        args.test_rows = NEWSWIRE_ROWS["test"]
    judging_rows.open_source(args).check()
    dist.launch(_evaluate_rank, args, num_ranks=args.num_ranks)


def _evaluate_rank(ranks: Ranks, args: argparse.Namespace) -> None:
    """One rank's part; the counts are added up, so any number of ranks agrees."""
    with dist.raise_together():
        classifier = Classifier(args.model)
    source = judging_rows.open_source(args)
    table = tokenised.tokenise(
        source,
        "test",
        tokenizer=classifier.tokenizer,
        num_rows=args.test_rows,
        seed=args.seed,
    )
    net = classifier.net.to(ranks.device)
    metrics = evaluate_table(net, table, ranks, title="evaluate")
    figures = metrics.as_dict() | {
        "data": source.description,
        "data_fingerprint": source.fingerprint(
            "test", num_rows=args.test_rows, seed=args.seed
        ),
    }
    with dist.raise_together():
        if ranks.is_main and args.json:
            files.write_json(args.json, figures)
    if ranks.is_main:
        print(json.dumps(figures, indent=1))


def export(args: argparse.Namespace) -> None:
    """Make a model for other engines, compare them, write a model repository's folder.

    Args:
        args: `model`, `engine` (a list or None), `out`, `hub`, `data`, `text_columns`,
            `label_column`, `test_rows`, `report`. Which rows follows the run where it
            is not said.

    Raises:
        SettingsError: Neither engine nor folder is given. Other kinds of
            DistriNewsError: model or data are missing, or cannot be written.
    """
    if not args.engine and not args.hub:
        raise SettingsError(
            "neither --engine nor --hub is given.",
            why="there would be nothing to do: the run has an export already.",
            fix="--engine onnx-int8, or --hub FOLDER.",
            page="engines",
        )
    model_bundle = bundle.open_bundle(args.model)
    asked_rows = args.test_rows
    if args.engine:
        judging_rows.follow_run(args, model_bundle)
        args.model_classes = model_bundle.labels
    parities = []
    for name in args.engine or ():
        source = judging_rows.open_source(args)
        source.check()
        if args.data in sources.SOURCE_NAMES:
            args.test_rows = asked_rows or NEWSWIRE_ROWS["test"]
        rows = list(source.rows("test", num_rows=args.test_rows, seed=args.seed))
        classifier = Classifier(
            model_bundle, engine=name, num_threads=machine.num_cores()
        )
        parities.append(parity.measure(model_bundle, classifier, rows=rows))
        print(parities[-1].as_table(), end="\n\n", flush=True)
        if args.out:
            onnx_file = onnx_export.ensure(model_bundle, name)
            with files.atomic_file(args.out / onnx_file.name) as draft:
                shutil.copyfile(onnx_file, draft)
    if args.report:
        figures = {result.engine: result.as_dict() for result in parities}
        settings = {"data": source.card_description, "model": model_bundle.identity.id}
        record = results.build_record(
            "parity", figures=figures, settings=settings, num_ranks=1
        )
        results.write(args.report, record)
    if args.hub:
        publishing.publish(model_bundle, out=args.hub, parities=parities)
        print(f"{args.hub} is ready. To put it online: hf upload USER/NAME {args.hub}")
