"""A checkpoint is read while another rank is still writing it.

Symptom   "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding
          central directory", on the rank that read.
Cause     A file can exist before it is complete. (Two ranks that write the same path
          cause the same error.)
Fix       One rank writes under another name, then renames the file. The others wait at
          a barrier before they read.
Detector  torch.load: the end of the archive is missing.
Look at   Which rank failed, and what the other one was doing.
Question  Here the barrier alone would be enough. When does a program need the renaming?
Source    https://github.com/pytorch/pytorch/pull/194614
Concept   understand/checkpoint
Silent    no
Takes     4 s
"""

from __future__ import annotations

import os
import pathlib
import time

import torch
import torch.distributed as torch_dist
from torch import nn

from distrinews import dist
from distrinews.course import labs


def slow_write(path: pathlib.Path, model: nn.Module) -> None:
    """Write like a slow network disk: one half first, the other half later."""
    torch.save(model.state_dict(), path)
    whole = path.read_bytes()
    with path.open("wb") as file:
        file.write(whole[: len(whole) // 2])
        file.flush()
        time.sleep(1.0)
        file.write(whole[len(whole) // 2 :])


def broken(ranks: dist.Ranks) -> int:
    path = labs.folder() / "model.pt"
    if ranks.is_main:
        slow_write(path, labs.small_model())
    else:
        while not path.exists() or path.stat().st_size == 0:
            time.sleep(0.01)
        time.sleep(0.5)
    return len(torch.load(path))


def fixed(ranks: dist.Ranks) -> int:
    path = labs.folder() / "model.pt"
    if ranks.is_main:
        slow_write(path.with_suffix(".tmp"), labs.small_model())
        os.replace(path.with_suffix(".tmp"), path)  # all of it or nothing
    torch_dist.barrier()
    return len(torch.load(path))


def detect(ranks: dist.Ranks, got: int) -> None:
    labs.expect("tensors in the checkpoint", got, want=4)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"PytorchStreamReader failed reading zip archive",
)

if __name__ == "__main__":
    LAB.main()
