"""Save and restore all state of a run, atomically.

A checkpoint exists completely or not at all. It holds everything that decides the next
step: weights, optimizer, schedule, step, position in the data, and every rank's random
states. It is read back and compared before it gets its name, and contains hashes of its
files. It contains no pickle, only safetensors and JSON, so opening someone else's
checkpoint runs no code.

- `folders`: save a checkpoint, find the newest, load it.
- `state`: the objects that decide the next step.
- `encoding`: plain values and tensors as JSON and safetensors, and back.
- `format1`: checkpoints of older versions.

Not here: the model folder for serving (`distrinews.training.export`), the folders of
runs (`distrinews.training.runs`).

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
