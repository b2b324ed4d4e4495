"""The check of save_once."""

from __future__ import annotations

import pathlib
import time
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distrinews.course import exercises


def check(harness: exercises.Harness) -> None:
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Linear(4, 2))
    folder = harness.folder / "checkpoints"
    folder.mkdir(exist_ok=True)
    path = folder / "model.pt"
    half_written: list[str] = []
    writers: list[str] = []
    save = torch.save

    def slowly(state: Any, target: Any, *args: Any, **kwargs: Any) -> None:
        is_path = isinstance(target, str | pathlib.Path)
        name = str(target if is_path else getattr(target, "name", ""))  # an open file
        writers.append(name)
        if pathlib.Path(name) == path:
            half_written.append(name)
        time.sleep(0.7)  # a large model on a slow disk
        save(state, target, *args, **kwargs)

    torch.save = slowly  # type: ignore[assignment]
    try:
        got, _ = harness.run(model, path, catch=(FileNotFoundError,))
    finally:
        torch.save = save
    harness.reject_if(
        isinstance(got, FileNotFoundError),
        "a rank reads before rank 0 has written: nothing made it wait.",
    )
    harness.reject_if(
        bool(writers) and not harness.ranks.is_main,
        "rank 1 writes the same file, too: its contents are unpredictable.",
    )
    harness.reject_if(
        any(key.startswith("module.") for key in got),
        'the keys begin with "module.": a plain model will not load them.',
    )
    want = model.module.state_dict()
    harness.reject_if(
        set(got) != set(want) or not all(torch.equal(got[k], want[k]) for k in want),
        "what was read is not what was saved.",
    )
    harness.reject_if(
        bool(half_written),
        "it writes at `path` itself: a run that is killed meanwhile leaves half a "
        "file.",
    )
    files_left = sorted(file.name for file in folder.iterdir())
    harness.expect("files left", files_left, want=["model.pt"])


EXERCISE = exercises.Exercise(check=check)
