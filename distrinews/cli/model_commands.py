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
from distrinews.config.settings import NEWSWIRE_ROWS
from distrinews.data import sources, tokenised
from distrinews.dist import Ranks
from distrinews.errors import SettingsError
from distrinews.inference import bundle, onnx_export, parity
from distrinews.inference.classifier import Classifier
from distrinews.metrics.evaluation import evaluate as count_answers
from distrinews.system import files, machine
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


def evaluate(given: argparse.Namespace) -> None:
    """Print a model's exact figures on test rows, as JSON.

    Args:
        given: `model`, `data`, `test_rows`, `seed`, `num_ranks`, `raw`, `json`.

    Raises:
        DistriNewsError: Model or data are missing or malformed.
    """
    if given.data == "newswire" and given.test_rows is None:
        given.test_rows = NEWSWIRE_ROWS["test"]
    sources.open_source(given.data, repaired=not given.raw).check()
    dist.launch(_evaluate_rank, given, num_ranks=given.num_ranks)


def _evaluate_rank(ranks: Ranks, given: argparse.Namespace) -> None:
    """One rank's part; the counts are added up, so any number of ranks agrees."""
    with dist.raise_together():
        classifier = Classifier(given.model)
    table = tokenised.tokenise(
        sources.open_source(given.data, repaired=not given.raw),
        "test",
        tokenizer=classifier.tokenizer,
        num_rows=given.test_rows,
        seed=given.seed,
    )
    net = classifier.net.to(ranks.device)
    tally = count_answers(net, table, ranks, title="evaluate")
    with dist.raise_together():
        if ranks.is_main and given.json:
            files.write_json(given.json, tally.as_dict())
    if ranks.is_main:
        print(json.dumps(tally.as_dict(), indent=1))


def export(given: argparse.Namespace) -> None:
    """Make a model for other engines, compare them, write a model repository's folder.

    Args:
        given: `model`, `engine` (a list or None), `out`, `hub`, `data`, `test_rows`,
            `report`.

    Raises:
        SettingsError: Neither engine nor folder is given. Other kinds of
            DistriNewsError: model or data are missing, or cannot be written.
    """
    if not given.engine and not given.hub:
        raise SettingsError(
            "neither --engine nor --hub is given.",
            why="there would be nothing to do: the run has an export already.",
            fix="--engine onnx-int8, or --hub FOLDER.",
            page="engines",
        )
    source = sources.open_source(given.data)
    found = bundle.open_bundle(given.model)
    parities = []
    for name in given.engine or ():
        source.check()
        rows = list(source.rows("test", num_rows=given.test_rows, seed=0))
        classifier = Classifier(found, engine=name, num_threads=machine.num_cores())
        parities.append(parity.measure(found, classifier, rows=rows))
        print(parities[-1].as_table(), end="\n\n", flush=True)
        if given.out:
            made = onnx_export.ensure(found, name)
            with files.atomic_file(given.out / made.name) as draft:
                shutil.copyfile(made, draft)
    if given.report:
        figures = {told.engine: told.as_dict() for told in parities}
        settings = {"data": source.description, "model": found.identity.id}
        told = results.build_record(
            "parity", figures=figures, settings=settings, num_ranks=1
        )
        results.write(given.report, told)
    if given.hub:
        publishing.publish(found, out=given.hub, parities=parities)
        print(
            f"{given.hub} is ready. To put it online: hf upload USER/NAME {given.hub}"
        )
