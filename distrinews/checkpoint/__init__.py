"""Save and restore all state of a run, atomically.

Promise: a checkpoint exists completely or not at all, holds all that decides the next
step (weights, optimizer, schedule, step, position in the data, random states of every
rank), was read back and compared before it got its name, and proves its own integrity.
There is no pickle in it: safetensors and JSON only, so opening a foreign one runs no
code.

- `folders`: save, find the newest, load.
- `state`: which objects decide the next step.
- `encoding`: plain values and tensors as JSON and safetensors, and back.
- `format1`: checkpoints of older versions.

Not here: the model folder for serving (`distrinews.training.export`), where runs lie
(`distrinews.training.runs`).

Guide: understand/checkpoint.
"""

from __future__ import annotations

from distrinews.checkpoint.folders import (
    latest,
    load_training,
    load_weights,
    restore,
    save,
)
from distrinews.checkpoint.state import Sampler, TrainingState
from distrinews.system.manifest import MANIFEST, verify, write_manifest

__all__ = [
    "MANIFEST",
    "Sampler",
    "TrainingState",
    "latest",
    "load_training",
    "load_weights",
    "restore",
    "save",
    "verify",
    "write_manifest",
]
