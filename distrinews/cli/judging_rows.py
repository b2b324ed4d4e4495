"""Which test rows judge a model: those of its own run, unless others are named.

A model of the file `mine.csv` that was judged by generated news would get a figure, and
a meaningless one. So `evaluate` and `export` read what the run was trained on.

Not here: reading rows (`distrinews.data.sources`).

Guide: reference/command-line.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from distrinews.data import sources
from distrinews.data.columns import ColumnsWanted
from distrinews.data.labels import LABEL_NAMES
from distrinews.errors import SettingsError
from distrinews.inference.bundle import Bundle
from distrinews.system import files
from distrinews.training import resume

__all__ = ["follow_run", "open_source"]


def follow_run(args: argparse.Namespace, model: Bundle) -> None:
    """Fill in data, columns, rows and seed from the run that made a model.

    Args:
        args: `data`, `text_columns`, `label_column`, `test_rows`, `seed`; what is None
            is filled in, the rows and columns only where the data are the run's.
        model: An export; its run is the folder around it.

    Raises:
        SettingsError: No data are named, and the model's run is not here to say which,
            or its file has changed.
    """
    run = _run_settings(model)
    # WHY the run's seed also with other data: the data may be the same file, and the
    # seed says which of its rows were trained on.
    if getattr(args, "seed", None) is None:
        args.seed = run.get("seed", 0)
    if args.data is None and "data" in run:
        for name in ("text_columns", "label_column", "test_rows"):
            if getattr(args, name) is None:
                setattr(args, name, run.get(name))
        args.data = run["data"]
        _check_same_rows(model.folder.parent, run)
    elif args.data is None:
        named = model.facts.get("data_name")
        is_news = model.labels == LABEL_NAMES
        args.data = named or ("newswire" if is_news else None)
        if args.data not in sources.SOURCE_NAMES:
            raise SettingsError(
                f"{model.folder} was trained on rows of its author's own.",
                why="rows of another kind would give a figure that says nothing.",
                fix="--data with test rows of its classes: "
                f"{', '.join(model.labels):.200}.",
                page="predict",
            )


def open_source(args: argparse.Namespace) -> sources.Source:
    """Open the rows, their labels numbered as in the model.

    Args:
        args: `data`, `text_columns`, `label_column`, `model_classes`, and `raw` where
            the command has it.

    Returns:
        The source; nothing is read yet.

    Raises:
        DataError: The data are unknown or have other classes.
    """
    return sources.open_source(
        args.data,
        repaired=not getattr(args, "raw", False),
        wanted=ColumnsWanted(args.text_columns, args.label_column),
        model_classes=args.model_classes,
    )


def _run_settings(model: Bundle) -> dict[str, Any]:
    """The settings of the run, if the export lies in its folder."""
    if model.folder.name != "export":
        return {}
    return _saved(model.folder.parent / "settings.json")


def _saved(path: Path) -> dict[str, Any]:
    """What a file of a run holds; nothing, if it is not there."""
    try:
        saved = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _check_same_rows(run_folder: Path, run: dict[str, Any]) -> None:
    """Raise SettingsError where a run's rows are not those it was trained on."""
    saved, path = _saved(run_folder / resume.DATA_FILE), Path(run["data"])
    if path.is_file():
        expected, current = saved.get("sha256"), files.sha256(path)
    elif path.is_dir():
        wanted = ColumnsWanted(run.get("text_columns"), run.get("label_column"))
        expected = saved.get("test")
        current = sources.open_source(run["data"], wanted=wanted).fingerprint(
            "test", num_rows=run.get("test_rows"), seed=run.get("seed", 0)
        )
    else:
        return  # news; a path that is gone is named when it is opened
    if expected in (None, current):
        return
    raise SettingsError(
        f"{path} has changed since {run_folder} was trained on it.",
        why="its test rows are chosen by their texts: other ones, which may have been "
        "trained on, would be among them.",
        fix="bring back the old file, or --data with rows that were not trained on.",
        page="predict",
    )
