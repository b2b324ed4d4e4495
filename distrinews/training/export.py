"""Write a trained model as a folder that plain `transformers` opens.

Promise: `pipeline("text-classification", model=folder)` gives the labels and scores
that were measured here. The folder says what it is (model card) and proves that its
files are the ones that were measured (manifest).

Not here: checkpoints, which hold what is needed to go on training.

Guide: understand/training-and-inference.
"""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from distrinews import checkpoint, model
from distrinews.data.labels import LABEL_NAMES, list_classes
from distrinews.errors import OutputError
from distrinews.inference import bundle, engines, golden, onnx_export
from distrinews.inference.bundle import Bundle
from distrinews.inference.classifier import Classifier
from distrinews.inference.parity import Parity
from distrinews.system import files

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["publish", "write"]

CARD_FILE = "README.md"

EXAMPLE = "Oil prices rise as storm nears the coast"
CARD = """---
{licence_line}library_name: transformers
pipeline_tag: text-classification
---
# {kind} classifier from run {run_id}

Made with DistriNews: {preset}, {summary}, trained on {data}.

| figure | value |
|---|---|
| test rows, each counted once | {rows} |
| accuracy | {accuracy:.4f} |
| macro F1 | {macro_f1:.4f} |
| training rows | {fitted_rows} |
| ranks | {num_ranks} |

Classes: {class_list}. Texts are cut at {max_length} tokens.
Start weights: {origin}.{licence_note}

```python
from transformers import pipeline

classify = pipeline("text-classification", model="PATH OF THIS FOLDER", top_k=None)
classify("{example}", truncation=True)
```
"""
ENGINE_CARD = """

## {name}

The same model for ONNX Runtime. On {rows} test rows, beside torch float32:

{table}
"""


def write(
    folder: pathlib.Path,
    *,
    net: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    facts: dict[str, Any],
) -> None:
    """Write model, tokenizer, model card and manifest, all or nothing.

    Call it on rank 0 only: nothing here waits for another rank.

    Args:
        folder: Where; an older export there is replaced.
        net: The bare model.
        tokenizer: As used in training; it carries the maximum length.
        facts: What the model card states: `licence`, `run_id`, `preset`, `summary`,
            `data`, `rows`, `accuracy`, `macro_f1`, `fitted_rows`, `num_ranks`,
            `max_length`, `origin`; and `classes` where they are not the four of news.
            Without a `licence` the card names none. All of them, and others, are kept
            in `distrinews.json`; the demo page also shows `device`, `train_s` [seconds]
            and `loss_curve`, pairs of step and loss.

    Raises:
        OutputError: It could not be written. On this rank only.
    """
    card = CARD.format(**facts, **_card_parts(facts))
    model.disable_progress_bars()
    with files.atomic_folder(folder) as draft:
        net.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        (draft / CARD_FILE).write_text(card, encoding="utf-8", newline="\n")
        files.write_json(draft / "distrinews.json", facts)
        checkpoint.write_manifest(draft)
        _record_golden(draft)


def _card_parts(facts: dict[str, Any]) -> dict[str, str]:
    """What the card says by class names and licence."""
    classes = tuple(facts.get("classes", LABEL_NAMES))
    is_news = classes == LABEL_NAMES
    licence = facts["licence"]
    note = " No licence is named here: the licence of the rows was not given."
    return {
        "licence_line": f"license: {licence}\n" if licence else "",
        "licence_note": "" if licence else note,
        "kind": "News" if is_news else "Text",
        "class_list": list_classes(classes),
        "example": EXAMPLE if is_news else "A text like those it was trained on",
    }


def _record_golden(folder: pathlib.Path) -> None:
    """Let a complete export answer the golden texts, and keep the scores in it."""
    # WHY through the export itself: the scores are those of the files that are served,
    # and a folder that could not be opened would be found out now.
    texts = golden.texts()
    answers = Classifier(folder).predict(texts)
    scores = [list(answer.scores.values()) for answer in answers]
    golden.write(folder, golden.Golden(texts, scores))
    checkpoint.write_manifest(folder)


def publish(
    export: Bundle, *, out: pathlib.Path, parities: Sequence[Parity] = ()
) -> None:
    """Write the folder of a model repository: what a Space pins by its revision.

    It holds the export's verified files, golden rows, the model card and, for each
    engine that was measured, its ONNX file; and a new manifest over all of them.

    Args:
        export: The export, verified.
        out: Where; an earlier such folder is replaced.
        parities: What was measured of each engine to add.

    Raises:
        OutputError: Something else lies there, or it could not be written.
    """
    _check_replaceable(out)
    with files.atomic_folder(out) as draft:
        for name in export.digests:
            shutil.copyfile(export.folder / name, draft / name)
        checkpoint.write_manifest(draft)
        if golden.FILE not in export.digests:
            _record_golden(draft)
        card = (draft / CARD_FILE).read_text("utf-8") if _has_card(export) else ""
        for parity in parities:
            name = onnx_export.file_name(parity.engine)
            if parity.engine != engines.REFERENCE:
                shutil.copyfile(onnx_export.ensure(export, parity.engine), draft / name)
            card = card.rstrip() + ENGINE_CARD.format(
                name=name, rows=parity.num_texts, table=parity.as_table()
            )
        (draft / CARD_FILE).write_text(card, encoding="utf-8", newline="\n")
        checkpoint.write_manifest(draft)
        bundle.open_bundle(draft)  # what cannot be opened must not be published


def _has_card(export: Bundle) -> bool:
    return CARD_FILE in export.digests


def _check_replaceable(out: pathlib.Path) -> None:
    """Raise OutputError where something lies that is no earlier model folder."""
    if not out.exists():
        return
    is_folder = out.is_dir()
    is_ours = is_folder and (out / checkpoint.MANIFEST).is_file()
    is_empty = is_folder and not any(out.iterdir())
    # WHY .git: the folder is replaced as a whole; a clone's history would be gone.
    if (is_ours or is_empty) and not (out / ".git").exists():
        return
    raise OutputError(
        f"{out} exists and is no earlier model folder.",
        why="it would be replaced, and its contents would be lost.",
        fix="--hub with a new folder; then: hf upload USER/NAME FOLDER",
        page="output",
    )
