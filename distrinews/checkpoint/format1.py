"""Read checkpoints of the first format, whose `state.json` names no format.

Not here: the current format (`distrinews.checkpoint.folders`).
"""

from __future__ import annotations

import pathlib
from typing import Any

import torch
from safetensors.torch import load_file

from distrinews.checkpoint.state import (
    TrainingState,
    check_schedule,
    load_model,
    restore_random,
)

__all__ = ["restore", "step_of"]


def step_of(record: dict[str, Any]) -> int:
    """Read the number of trained steps.

    Args:
        record: A table that holds it under "step".

    Returns:
        A count.

    Raises:
        ValueError: It is not a count. On this rank only.
    """
    step = record["step"]
    if type(step) is not int or step < 0:  # True is also an int
        raise ValueError(f"its step is {step!r}")
    return step


def restore(folder: pathlib.Path, record: dict[str, Any], state: TrainingState) -> None:
    """Restore a run from a checkpoint of the first format.

    Args:
        folder: The checkpoint.
        record: Its `state.json`.
        state: Objects built like the saved ones. The run's values other than its step
            are put into `extra["progress"]`, if there is such an entry.

    Raises:
        ValueError: It does not fit. Other errors may occur when a malformed file is
            read. All on this rank only.
    """
    progress = dict(record["run"])
    step = step_of(progress)
    load_model(state.model, load_file(folder / "weights.safetensors"))
    optimizer_state = _optimizer_state(
        load_file(folder / "optimizer.safetensors"), record["optimizer"]
    )
    params = [p for group in state.optimizer.param_groups for p in group["params"]]
    for index, entries in optimizer_state["state"].items():
        if index >= len(params):
            raise ValueError(f"its optimizer has a parameter number {index}")
        for name, value in entries.items():
            if getattr(value, "ndim", 0) and value.shape != params[index].shape:
                raise ValueError(f"its optimizer's {name} has another shape")
    state.optimizer.load_state_dict(optimizer_state)
    if state.scheduler is not None:
        check_schedule(record["scheduler"], state.scheduler.state_dict())
        state.scheduler.load_state_dict(record["scheduler"])
    if state.sampler is not None:
        state.sampler.load_state_dict(record["sampler"] or {})
    if "progress" in state.extra:
        state.extra["progress"].update(progress)
    state.step = step
    of_ranks: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in load_file(folder / "random.safetensors").items():
        kind, _, rank = key.partition(".")
        of_ranks.setdefault(int(rank), {})[kind.replace("cpu", "torch")] = value
    restore_random([of_ranks[rank] for rank in range(len(of_ranks))])


def _optimizer_state(
    tensors: dict[str, torch.Tensor], plain_values: dict[str, Any]
) -> dict[str, Any]:
    """Combine tensors and plain values into an optimizer's state."""
    by_index: dict[int, dict[str, Any]] = {
        int(index): dict(entries) for index, entries in plain_values["state"].items()
    }
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        # A copy, as for `KEPT_SECTIONS` in `distrinews.checkpoint.folders`.
        by_index.setdefault(int(index), {})[name] = tensor.clone()
    return {"state": by_index, "param_groups": plain_values["param_groups"]}
