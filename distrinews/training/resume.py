"""Decide whether a run may start, and whether it resumes an earlier one.

Promise: no run writes into another one's folder, and a run that goes on does so with
the settings it began with.

Not here: what a checkpoint holds (`distrinews.checkpoint`).

Guide: understand/checkpoint.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
from typing import Any

from distrinews.config.settings import DistributedSettings, TrainSettings
from distrinews.data import csv_rows
from distrinews.errors import SettingsError
from distrinews.system import files, shell
from distrinews.training import corpus

__all__ = ["DATA_FILE", "check", "describe_data", "is_resuming"]

DATA_FILE = "data.json"


def check(settings: TrainSettings) -> None:
    """Refuse a run that could not keep its results, before any process starts.

    Args:
        settings: What was asked for.

    Raises:
        SettingsError: The run exists and is not to be resumed; or it is to be resumed
            and does not exist, or was made with other settings or of other rows.
        OutputError: The folder for runs cannot be written.
    """
    folder = pathlib.Path(settings.runs_dir) / settings.run_name
    if is_resuming(settings) and folder.exists():
        _check_same_settings(folder, settings)
    elif isinstance(settings, DistributedSettings) and settings.resume:
        raise SettingsError(
            f"there is no run {folder} to resume.",
            why="a mistyped name would silently start from the beginning.",
            fix=f"run ls {settings.runs_dir}, then give --run-name one of these names.",
            page="resume",
        )
    elif folder.exists():
        raise SettingsError(
            f"the run {folder} exists already.",
            why="a second run in the same folder would overwrite its results.",
            fix="give another --run-name, or (chapter 05) --resume to continue it.",
            page="resume",
        )
    probe = pathlib.Path(settings.runs_dir) / ".probe"
    with files.atomic_file(probe) as draft:
        draft.touch()
    probe.unlink(missing_ok=True)


def is_resuming(settings: TrainSettings) -> bool:
    """Say whether to resume the existing run: on request, or restarted by torchrun.

    Args:
        settings: What was asked for.

    Returns:
        True with `--resume`, and in a rank that torchrun restarted after a failure.

    Examples:
        >>> is_resuming(TrainSettings())
        False
    """
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if restarts not in ("", "0"):
        return True
    return isinstance(settings, DistributedSettings) and settings.resume


def describe_data(settings: TrainSettings) -> dict[str, Any]:
    """Name the rows of a run by their content, to be compared when it is resumed.

    Args:
        settings: Data, columns, rows and seed.

    Returns:
        What `data.json` holds: a fingerprint for each split; of a single file also its
        size and SHA-256.

    Raises:
        DataError: The files cannot be read.
        HubUnreachableError: AG News is not here, and the Hub does not answer.

    Note:
        Cost: the files are read once or twice, without looking at their rows.
    """
    source, path = corpus.open_source(settings), pathlib.Path(settings.data)
    facts: dict[str, Any] = {
        split: source.fingerprint(split, num_rows=num_rows, seed=settings.seed)
        for split, num_rows in (
            ("train", settings.train_rows),
            ("test", settings.test_rows),
        )
    }
    if path.is_file():
        size = path.stat().st_size
        facts |= {"bytes": size, "sha256": _sha256(path, num_bytes=size)}
    return facts


def _check_same_data(
    folder: pathlib.Path, settings: TrainSettings, saved: dict[str, Any]
) -> None:
    """Raise SettingsError where the rows are others than those the run began with."""
    current = describe_data(settings)
    if all(saved.get(split) == current.get(split) for split in ("train", "test")):
        return
    path, num_bytes = pathlib.Path(settings.data), int(saved.get("bytes", 0))
    fix = "bring back the old data (--data with its path), or start a new --run-name."
    if settings.data == "ag_news":
        fix = "copy ~/.cache/huggingface from where the run began, or start a new "
        fix += "--run-name."
    what = "has other rows"
    has_grown = path.is_file() and current["bytes"] > num_bytes > 0
    if has_grown and _sha256(path, num_bytes=num_bytes) == saved["sha256"]:
        what = f"has grown by {current['bytes'] - num_bytes:,} bytes"
        old = "old" + "".join(path.suffixes)
        fix = f"{shell.rewrite_file(path.as_posix(), old, f'old[:{num_bytes}]')}, then "
        fix += f"--resume --data {old}; or start a new --run-name to train on all rows."
    raise SettingsError(
        f"{settings.data} {what} since the run {folder} began.",
        why="the checkpoint and the log belong to rows that no longer exist.",
        fix=fix,
        page="resume",
    )


def _sha256(path: pathlib.Path, *, num_bytes: int) -> str:
    """The SHA-256 of a file's first bytes."""
    digest = hashlib.sha256()
    with csv_rows.translate_read_errors(path), open(path, "rb") as file:
        while num_bytes > 0 and (part := file.read(min(num_bytes, 2**20))):
            digest.update(part)
            num_bytes -= len(part)
    return digest.hexdigest()


def _check_same_settings(folder: pathlib.Path, settings: TrainSettings) -> None:
    """Raise SettingsError where a setting differs that a resume must not change."""
    try:
        saved = files.read_json(folder / "settings.json")
    except (OSError, ValueError):
        return  # killed before its first file: nothing to differ from
    current = settings.model_dump()
    may_change = settings.may_change_on_resume
    data = _saved_data(folder)
    if data:
        # WHY not the path: the same bytes in another place are the same data, and
        # other bytes in the same place are not.
        may_change |= {"data"}
    differing = [
        f"{name} was {saved[name]}, now {current[name]}"
        for name in sorted(saved.keys() & current.keys() - may_change)
        if saved[name] != current[name]
    ]
    if differing:
        raise SettingsError(
            f"{folder} was made with other settings: {'; '.join(differing)}.",
            why="the resumed part would train something different from the first part.",
            fix="repeat that run's flags, or start a new --run-name.",
            page="resume",
        )
    if data:
        _check_same_data(folder, settings, data)


def _saved_data(folder: pathlib.Path) -> dict[str, Any]:
    """What `data.json` holds; nothing in a run that an older version began."""
    with contextlib.suppress(OSError, TypeError, ValueError):
        return dict(files.read_json(folder / DATA_FILE))
    return {}
