"""A Python object in the checkpoint: torch.load refuses it.

Symptom   "_pickle.UnpicklingError: Weights only load failed. In PyTorch 2.6, we changed
          the default value of the `weights_only` argument"
Cause     Reading a file of Python objects can run any code. Since 2.6 torch.load
          accepts only tensors and plain types.
Fix       Save only tensors, numbers, strings, dicts and lists. Use weights_only=False
          only for files that you wrote yourself.
Detector  torch.load.
Look at   The name after "Unsupported global": that object must not be in the file.
Question  Who could have written the checkpoint that you downloaded?
Source    https://github.com/alex-petrenko/sample-factory/issues/313
Concept   understand/checkpoint
Silent    no
Takes     3 s
"""

from __future__ import annotations

import argparse

import torch

from distrinews import dist
from distrinews.course import labs

SETTINGS = argparse.Namespace(learning_rate=0.1, num_steps=10)


def save_and_load(content: dict[str, object]) -> float:
    path = labs.folder() / "checkpoint.pt"
    torch.save(content, path)
    loaded = torch.load(path)
    settings = loaded["settings"]
    return float(settings["learning_rate"])


def broken() -> float:
    model = labs.small_model().state_dict()
    return save_and_load({"model": model, "settings": SETTINGS})


def fixed() -> float:
    model = labs.small_model().state_dict()
    return save_and_load({"model": model, "settings": vars(SETTINGS)})


def detect(ranks: dist.Ranks, got: float) -> None:
    labs.expect("the saved learning rate", got, want=0.1)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"Weights only load failed.*",
    num_ranks=0,
)

if __name__ == "__main__":
    LAB.main()
