"""May this run start, and does it go on with an earlier one?

Promise: no run writes into another one's folder, and a run that goes on does so with
the settings it began with.

Not here: what a checkpoint holds (`distrinews.checkpoint`).

Guide: understand/checkpoint.
"""

from __future__ import annotations

import os
import pathlib

from distrinews.config.settings import TrainSettings
from distrinews.errors import SettingsError
from distrinews.system import files

__all__ = ["check", "is_resuming"]


def check(settings: TrainSettings) -> None:
    """Refuse a run that could not keep its results, before any process starts.

    Args:
        settings: What was asked for.

    Raises:
        SettingsError: The run exists and is not to be resumed; or it is to be resumed
            and does not exist, or was made with other settings.
        OutputError: The folder for runs cannot be written.
    """
    folder = pathlib.Path(settings.runs_dir) / settings.run_name
    if is_resuming(settings) and folder.exists():
        _check_same_settings(folder, settings)
    elif settings.resume:
        raise SettingsError(
            f"there is no run {folder} to go on with.",
            why="a mistyped name would silently start from the beginning.",
            fix=f"ls {settings.runs_dir}, then --run-name with one of these.",
            page="resume",
        )
    elif folder.exists():
        raise SettingsError(
            f"the run {folder} exists already.",
            why="a second run in the same folder would overwrite its results.",
            fix="another --run-name, or --resume to go on with it.",
            page="resume",
        )
    probe = pathlib.Path(settings.runs_dir) / ".probe"
    with files.atomic_file(probe) as draft:
        draft.touch()
    probe.unlink(missing_ok=True)


def is_resuming(settings: TrainSettings) -> bool:
    """Say whether to go on with what is there: asked for, or restarted by torchrun.

    Args:
        settings: What was asked for.

    Returns:
        True with `--resume`, and in a rank that torchrun restarted after a failure.

    Examples:
        >>> is_resuming(TrainSettings())
        False
    """
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return settings.resume or restarts not in ("", "0")


def _check_same_settings(folder: pathlib.Path, settings: TrainSettings) -> None:
    """Raise SettingsError where a setting differs that a resume must not change."""
    try:
        saved = files.read_json(folder / "settings.json")
    except (OSError, ValueError):
        return  # killed before its first file: nothing to differ from
    current = settings.model_dump()
    differing = [
        f"{name} was {saved[name]}, now {current[name]}"
        for name in sorted(
            saved.keys() & current.keys() - settings.may_change_on_resume
        )
        if saved[name] != current[name]
    ]
    if differing:
        raise SettingsError(
            f"{folder} was made with other settings: {'; '.join(differing)}.",
            why="the second half would train something else than the first.",
            fix="repeat that run's flags, or start a new --run-name.",
            page="resume",
        )
