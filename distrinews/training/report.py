"""How a run begins and ends for its reader: what was chosen, what came out.

Promise: every number printed here is one over all ranks, or says whose it is; and the
same numbers are saved in the run's `result.json`.

Not here: training (the chapters), the folder of a run (`distrinews.training.runs`).

Guide: reference/run-folder.
"""

from __future__ import annotations

import datetime
import itertools
import pathlib
import textwrap
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from distrinews import dist, model
from distrinews.checkpoint import TrainingState
from distrinews.data.labels import LABEL_NAMES, describe_numbering
from distrinews.metrics import ClassificationMetrics
from distrinews.system import files, machine
from distrinews.training import corpus
from distrinews.training.corpus import Splits
from distrinews.training.runs import Run

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["HEADLINES", "finish", "print_summary"]

MAX_COLUMNS = 8  # of the confusion matrix, so that it fits a console
MAX_LISTED_CLASSES = 20  # more would push the rest off the screen
MAX_CURVE_POINTS = 60  # of the loss, in the export: enough for a small picture
# Written for this course; what a run on news classifies as its last act.
HEADLINES = (
    "Striker scores twice as champions win the cup final in extra time",
    "Central bank raises interest rates as inflation and oil prices climb",
    "Space probe sends first pictures from an icy moon of Saturn",
)


def print_summary(run: Run, *, net: PreTrainedModel, splits: Splits) -> None:
    """Print what is trained, on what, by how many.

    Args:
        run: The run.
        net: The bare model.
        splits: The data.
    """
    settings, ranks = run.settings, run.ranks
    described = model.describe(settings.preset, net=net)
    run.print_main(
        f"run    {run.folder}\n"
        f"model  {described['name']}: {described['summary']}; "
        f"{described['num_parameters']:,} parameters\n"
        f"       from {described['origin']}; licence {described['licence']}\n"
        f"data   {splits.description}\n"
        f"       {len(splits.train_rows)} rows to train on, "
        f"{len(splits.validation_rows)} to validate, {len(splits.test)} to test\n"
        f"{_summary_of_own_rows(splits)}"
        f"ranks  {ranks.world_size} on {ranks.device.type}, "
        f"{settings.global_batch_size} rows per step"
        f"{' over all ranks' if ranks.world_size > 1 else ''}"
    )


def _summary_of_own_rows(splits: Splits) -> str:
    """How a file was read: what to look at before training on it. Empty for news."""
    train, test = splits.train, splits.test
    if not train.form:
        return ""
    names = splits.class_names
    num_train = np.bincount(train.labels, minlength=len(names))
    num_test = np.bincount(test.labels, minlength=len(names))
    width = max(5, *map(len, names[:MAX_LISTED_CLASSES]))
    text = splits.tokenizer.decode(train.ids(0), skip_special_tokens=True)
    lines = [
        train.form,
        f"{len(names)} classes, {describe_numbering(names)}",
        f"  {'class':{width}} {'train':>7} {'test':>7}   rows (train: with validation)",
        *(
            f"  {name:{width}} {rows:7} {test_rows:7}"
            for name, rows, test_rows in itertools.islice(
                zip(names, num_train, num_test, strict=True), MAX_LISTED_CLASSES
            )
        ),
        *([f"  ... {n} more" for n in [len(names) - MAX_LISTED_CLASSES] if n > 0]),
        f"{train.num_cut} of {len(train)} rows are longer than --max-length and are "
        "cut",
        f"first text as the model reads it: {text[:100]!r}",
    ]
    return textwrap.indent("\n".join(lines), " " * 7) + "\n"


def finish(
    run: Run, *, state: TrainingState, splits: Splits, test: ClassificationMetrics
) -> None:
    """Export the tested model, let it answer, and write the result.

    Collective: every rank must call it.

    Args:
        run: The run, trained.
        state: What was trained. Its optimizer is emptied: no step follows.
        splits: The data.
        test: What the model answered on the test rows, over all ranks.

    Raises:
        OutputError: Export or result could not be written. On every rank.
    """
    run.log.close()
    # WHY: AdamW's two means of each gradient are twice the model. Export, and the model
    # that is opened from it, would come on top.
    state.optimizer.state.clear()
    machine.return_freed_memory()
    net: Any = state.model
    rows_trained = (run.step - run.first_step) * run.settings.global_batch_size
    seconds = run.seconds["train"]
    figures: dict[str, Any] = {
        "train_rows": len(splits.train),
        "fitted_rows": len(splits.train_rows),
        "validation_rows": len(splits.validation_rows),
        "rows_trained": rows_trained,
        "steps": run.step,
        "best_step": run.progress["best_step"],
        "samples_per_s": round(rows_trained / seconds, 3) if seconds else None,
        "test_rows": test.num_rows,
        "validation_accuracy": run.progress["best_accuracy"],
        "model": model.describe(run.settings.preset, net=net),
        "data": splits.description,
        "classes": list(splits.class_names),
    } | {name: value for name, value in test.as_dict().items() if name != "rows"}
    with run.phase("export"):
        _export(run, net, splits, figures)
    with run.phase("predict"):
        figures["headlines"] = _classify_headlines(run, splits)
    path = _write_result(run, figures)
    run.print_main(_result_table(run, test, figures))
    run.print_main(str(path))


def _export(
    run: Run, net: PreTrainedModel, splits: Splits, figures: dict[str, Any]
) -> None:
    facts = {
        "run_id": run.folder.name,
        "preset": figures["model"]["name"],
        "summary": figures["model"]["summary"],
        "origin": figures["model"]["origin"],
        # WHY only with a known source: the publisher of the model must name it.
        "licence": figures["model"]["licence"].split()[0].lower()
        if splits.licence
        else None,
        "data": splits.card_description,
        "data_name": run.settings.data if not splits.train.form else "own rows",
        "classes": list(splits.class_names),
        "rows": figures["test_rows"],
        "accuracy": figures["accuracy"],
        "macro_f1": figures["macro_f1"],
        "fitted_rows": figures["fitted_rows"],
        "num_ranks": run.ranks.world_size,
        "device": run.ranks.device.type,
        # After a resume, the seconds of the first part are unknown.
        "train_s": None if run.first_step else round(run.seconds["train"], 1),
        "max_length": run.settings.max_length,
    }
    with dist.raise_together():
        if run.ranks.is_main:
            # WHY here: only rank 0 needs the engines, and only at the end.
            from distrinews.training import export

            facts["loss_curve"] = run.log.losses(max_points=MAX_CURVE_POINTS)
            export.write(
                run.export_folder, net=net, tokenizer=splits.tokenizer, facts=facts
            )


def _classify_headlines(run: Run, splits: Splits) -> list[dict[str, Any]]:
    """Load the export as any user would, and classify three texts with it."""
    answers: list[dict[str, Any]] = []
    with dist.raise_together():
        if run.ranks.is_main:
            from distrinews.inference.classifier import Classifier

            is_news = splits.class_names == LABEL_NAMES
            texts = HEADLINES if is_news else _three_test_texts(run, splits)
            predictions = Classifier(run.export_folder).predict(texts)
            answers = [
                {"text": text, "label": p.label, "scores": p.scores}
                for text, p in zip(texts, predictions, strict=True)
            ]
    for answer in answers:
        best = sorted(answer["scores"].items(), key=lambda item: -item[1])
        listed = answer["scores"].items() if len(best) <= 5 else best[:5]
        scores = "  ".join(f"{name} {score:.3f}" for name, score in listed)
        text = textwrap.shorten(answer["text"], 200)
        run.print_main(f"{answer['label']:9} <- {text}\n          {scores}")
    return answers


def _three_test_texts(run: Run, splits: Splits) -> list[str]:
    """The first test text of each of three classes; fewer if there are fewer."""
    settings = run.settings
    rows = corpus.open_source(settings).rows(
        "test", num_rows=settings.test_rows, seed=settings.seed
    )
    first: dict[int, str] = {}
    for row in rows:
        first.setdefault(row.label, row.text)
        if len(first) == min(3, len(splits.class_names)):
            break
    return list(first.values())


def _write_result(run: Run, facts: dict[str, Any]) -> pathlib.Path:
    """Write `result.json`, the last file of a run. Collective."""
    path = run.folder / "result.json"
    memory = dist.gather_objects(machine.peak_memory_bytes())
    total_s = time.time() - machine.program_start_s()
    seconds = {name: round(value, 3) for name, value in run.seconds.items()}
    result = {
        "run_name": run.folder.name,
        "finished": datetime.datetime.now(datetime.UTC).isoformat("T", "seconds"),
        "num_ranks": run.ranks.world_size,
        "seconds": seconds | {"total": round(total_s, 3)},
        "peak_memory_bytes": memory,
        "export_dir": str(run.export_folder),
    }
    with dist.raise_together():
        if run.ranks.is_main:
            files.write_json(path, result | facts)
    return path


def _result_table(
    run: Run, metrics: ClassificationMetrics, figures: dict[str, Any]
) -> str:
    """The result in a form that fits any console."""
    names = metrics.class_names
    width = max(len(name) for name in names)
    cell = max(10, width + 2)
    world_size = run.ranks.world_size
    over_ranks = f" over {world_size} ranks" if world_size > 1 else ""
    lines = [
        "",
        f"accuracy {metrics.accuracy:.4f}, macro F1 {metrics.macro_f1:.4f} on "
        f"{metrics.num_rows} test rows, each counted once{over_ranks}",
        f"{figures['samples_per_s']} samples/s while training; "
        + ", ".join(f"{name} {value:.1f} s" for name, value in run.seconds.items()),
        "",
    ]
    if len(names) > MAX_COLUMNS:
        lines += _worst_classes(metrics)
        return "\n".join([*lines, ""])
    lines.append(" " * (width + 7) + "".join(f"{name:>{cell}}" for name in names))
    for name, row in zip(names, metrics.confusion.tolist(), strict=True):
        cells = "".join(f"{count:{cell}}" for count in row)
        lines.append(f"true  {name:{width}} {cells}")
    return "\n".join([*lines, ""])


def _worst_classes(metrics: ClassificationMetrics) -> list[str]:
    """Where a matrix would be too wide: the classes with the lowest F1."""
    scores = sorted(metrics.f1_by_class.items(), key=lambda item: item[1])
    listed = scores[:MAX_LISTED_CLASSES]
    width = max(len(name) for name, _ in listed)
    recall, precision = metrics.recall_by_class, metrics.precision_by_class
    return [
        f"{'':{width}}     F1  precision  recall   (lowest F1 first)",
        *(
            f"{name:{width}} {score:6.3f} {precision[name]:10.3f} {recall[name]:7.3f}"
            for name, score in listed
        ),
    ]
