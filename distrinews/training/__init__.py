"""The parts that the chapters' training loops are made of.

The loops themselves stand in the chapters.

- `setup`: seeds, sampler, optimizer, learning-rate schedule, plan of steps.
- `corpus`: tokenizer, tables, split into training, validation and test rows.
- `runs`: one run, one folder; its progress, its checkpoints.
- `resume`: may this run start, and does it continue an earlier one.
- `logs`: the log of a run, and TensorBoard.
- `evaluation`: the model's figures on rows of a table.
- `report`: what is printed at the start and at the end, and `result.json`.
- `export`: a folder that plain `transformers` opens.

Guide: learn/single-gpu.
"""

from __future__ import annotations

from distrinews.training.evaluation import evaluate_table
from distrinews.training.setup import (
    Plan,
    be_deterministic,
    build_optimizer,
    build_sampler,
    build_scheduler,
    plan,
    seed_dropout,
    seed_weights,
)

__all__ = [
    "Plan",
    "be_deterministic",
    "build_optimizer",
    "build_sampler",
    "build_scheduler",
    "evaluate_table",
    "plan",
    "seed_dropout",
    "seed_weights",
]
