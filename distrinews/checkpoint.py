"""Save and restore all state of a run, atomically.

Promise: a checkpoint exists completely or not at all, holds all that decides the next
step (weights, optimizer, schedule, step, random states of every rank), and proves its
own integrity. There is no pickle in it: safetensors and JSON only, so opening a foreign
one runs no code.

Not here: the model folder for serving (`distrinews.training.export`), where runs lie
(`distrinews.training.runs`).

Guide: understand/checkpoint.
"""

from __future__ import annotations

import logging
import pathlib
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from distrinews import dist
from distrinews.errors import CheckpointError
from distrinews.system import files
from distrinews.system.manifest import MANIFEST, verify, write_manifest

__all__ = [
    "MANIFEST",
    "Sampler",
    "TrainingState",
    "latest",
    "load_training",
    "load_weights",
    "save",
    "verify",
    "write_manifest",
]

log = logging.getLogger(__name__)
# What reading somebody's file as tensors and tables may raise.
MALFORMED = (SafetensorError, LookupError, TypeError, ValueError, AttributeError)


class Sampler(Protocol):
    """A sampler that can save its position, as plain values that JSON can hold."""

    def state_dict(self) -> dict[str, Any]:
        """Return the position."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a position that `state_dict` returned."""


@dataclass(frozen=True)
class TrainingState:
    """The objects that decide the next step of a run.

    Attributes:
        net: The bare model, not its DDP wrapper: wrapped names start with "module."
            and fit no other program.
        optimizer: Built for it. Its state is the same on every rank.
        scheduler: Built for the optimizer.
        sampler: What knows which rows come next; None where the step says it all.
    """

    net: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler
    sampler: Sampler | None = None


def save(
    root: pathlib.Path,
    state: TrainingState,
    *,
    progress: dict[str, Any],
    settings: dict[str, Any] | None = None,
    keep: int = 2,
) -> None:
    """Save a checkpoint and delete those that are no longer needed.

    Collective: every rank must call it. Rank 0 writes; the others give their random
    states and wait for the verdict.

    Args:
        root: The run's checkpoint folder.
        state: What decides the next step. Rank 0's optimizer is enough: it is the same
            everywhere.
        progress: Plain values. Must hold `step` and `best_step`; the checkpoint of
            `best_step` is never deleted.
        settings: The run's settings, kept beside what they led to.
        keep: How many of the newest to keep besides the best.

    Raises:
        OutputError: It could not be written. On every rank; older ones are intact.

    Note:
        Cost: one gather of some kilobytes a rank, one vote. 12 bytes on disk per
        parameter with AdamW (weights and two moments, float32).
    """
    rng_states = dist.gather_objects(_rng_states())
    with dist.raise_together():
        if not dist.current().is_main:
            return
        with files.atomic_folder(root / f"step-{progress['step']:08d}") as folder:
            weights = _contiguous(state.net.state_dict())
            save_file(weights, folder / "weights.safetensors")
            tensors, plain_values = _split_optimizer_state(state.optimizer.state_dict())
            save_file(tensors, folder / "optimizer.safetensors")
            per_rank = {
                f"{kind}.{rank}": by_kind[kind]
                for rank, by_kind in enumerate(rng_states)
                for kind in by_kind
            }
            save_file(per_rank, folder / "random.safetensors")
            record = {
                "optimizer": plain_values,
                "scheduler": state.scheduler.state_dict(),
                "sampler": _sampler_state(state.sampler),
                "settings": settings,
                "run": progress,
            }
            files.write_json(folder / "state.json", record)
            write_manifest(folder)
        newest = _folders(root)[:keep]
        for folder in _folders(root)[keep:]:
            if (
                folder.name != f"step-{progress['best_step']:08d}"
                and folder not in newest
            ):
                # WHY not rmtree: a kill in its middle would leave half a checkpoint.
                files.remove_folder(folder)


def latest(root: pathlib.Path) -> pathlib.Path | None:
    """Find the newest intact checkpoint.

    Collective: every rank must call it. Rank 0 looks, all get its answer: ranks that
    looked for themselves could find different ones.

    Args:
        root: The run's checkpoint folder.

    Returns:
        Its folder; None if there is no intact one. Damaged ones are skipped, and a
        warning says which and why.

    Note:
        Cost: rank 0 reads the whole checkpoint once to verify it.
    """
    newest = None
    with dist.raise_together():
        if dist.current().is_main:
            files.remove_drafts(root)
        for folder in _folders(root) if dist.current().is_main else ():
            try:
                verify(folder)
            except CheckpointError as error:
                log.warning("skipping a damaged checkpoint: %s", error.what)
                continue
            newest = folder
            break
    return dist.broadcast_object(newest)


def load_training(folder: pathlib.Path, state: TrainingState) -> dict[str, Any]:
    """Put a run back to where a checkpoint left it.

    Args:
        folder: What `latest` found.
        state: Objects built like the saved ones; they take over the saved state.

    Returns:
        The `progress` that was saved.

    Raises:
        CheckpointError: It does not fit this model or optimizer. On this rank only.

    Note:
        Random states come back bit for bit with the same number of ranks. With another
        number no rank has a predecessor; then dropout continues from the seed.
    """
    load_weights(folder, net=state.net)
    try:
        record = files.read_json(folder / "state.json")
        optimizer_state = _join_optimizer_state(
            load_file(folder / "optimizer.safetensors"), record["optimizer"]
        )
        _check_compatible(optimizer_state, record["scheduler"], state)
        state.optimizer.load_state_dict(optimizer_state)
        state.scheduler.load_state_dict(record["scheduler"])
        if state.sampler is not None:
            state.sampler.load_state_dict(record["sampler"] or {})
        _restore_rng(load_file(folder / "random.safetensors"))
        progress = _progress_of(record)
    # WHY so many kinds: the file may come from anybody, and JSON can hold a list where
    # a table is expected. Its hashes only say that it is as its author left it.
    except (*MALFORMED, RuntimeError, OSError) as error:
        _raise_mismatch(folder, error)
    return progress


def _progress_of(record: dict[str, Any]) -> dict[str, Any]:
    progress = dict(record["run"])
    if type(progress["step"]) is not int or progress["step"] < 0:  # True is an int, too
        raise ValueError(f"its step is {progress['step']!r}")
    return progress


def _restore_rng(rng_states: dict[str, torch.Tensor]) -> None:
    """Give this rank its random states back, if it has a predecessor."""
    ranks = dist.current()
    saved_ranks = sum(name.startswith("cpu.") for name in rng_states)
    if saved_ranks != ranks.world_size:
        return
    torch.set_rng_state(rng_states[f"cpu.{ranks.rank}"])
    if f"cuda.{ranks.rank}" in rng_states and ranks.device.type == "cuda":
        torch.cuda.set_rng_state(rng_states[f"cuda.{ranks.rank}"], ranks.device)


def _check_compatible(
    optimizer_state: dict[str, Any], schedule: dict[str, Any], state: TrainingState
) -> None:
    """Raise ValueError where torch would load what cannot work later."""
    params = [p for group in state.optimizer.param_groups for p in group["params"]]
    for index, entries in optimizer_state["state"].items():
        if index >= len(params):
            raise ValueError(f"its optimizer has a parameter number {index}")
        for name, value in entries.items():
            if getattr(value, "ndim", 0) and value.shape != params[index].shape:
                raise ValueError(f"its optimizer's {name} has another shape")
    current = state.scheduler.state_dict()
    differing = {
        k
        for k in current | schedule
        if type(current.get(k)) is not type(schedule.get(k))
    }
    if differing:
        raise ValueError(f"its schedule differs in {sorted(differing)}")


def load_weights(folder: pathlib.Path, *, net: nn.Module) -> None:
    """Load only the weights of a checkpoint.

    Args:
        folder: A checkpoint.
        net: The bare model, built like the saved one; on any device.

    Raises:
        CheckpointError: They do not fit. On this rank only.
    """
    # WHY on the CPU first: loading straight onto "cuda:0", where rank 0 saved them,
    # would fill GPU 0 with the weights of every rank.
    try:
        net.load_state_dict(load_file(folder / "weights.safetensors", device="cpu"))
    except (*MALFORMED, RuntimeError, OSError) as error:
        _raise_mismatch(folder, error)


def _sampler_state(sampler: Sampler | None) -> dict[str, Any] | None:
    return None if sampler is None else sampler.state_dict()


def _folders(root: pathlib.Path) -> list[pathlib.Path]:
    """Complete checkpoints, newest first; unfinished ones have other names."""
    return sorted(root.glob("step-*"), key=lambda folder: folder.name, reverse=True)


def _rng_states() -> dict[str, torch.Tensor]:
    rng_states = {"cpu": torch.get_rng_state()}
    if dist.current().device.type == "cuda":
        rng_states["cuda"] = torch.cuda.get_rng_state(dist.current().device)
    return rng_states


def _contiguous(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def _split_optimizer_state(
    state: dict[str, Any],
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Part an optimizer's state into tensors and plain values."""
    tensors: dict[str, torch.Tensor] = {}
    plain_values: dict[str, Any] = {"param_groups": state["param_groups"], "state": {}}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{name}"] = value.cpu().contiguous()
            else:
                plain_values["state"].setdefault(str(index), {})[name] = value
    return tensors, plain_values


def _join_optimizer_state(
    tensors: dict[str, torch.Tensor], plain_values: dict[str, Any]
) -> dict[str, Any]:
    """The inverse of `_split_optimizer_state`."""
    by_index: dict[int, dict[str, Any]] = {
        int(index): dict(entries) for index, entries in plain_values["state"].items()
    }
    for key, tensor in tensors.items():
        index, _, name = key.partition(".")
        # WHY a copy: these tensors map the file, torch's optimizer keeps what it is
        # given, and Windows removes no file that is mapped: old checkpoints would stay.
        by_index.setdefault(int(index), {})[name] = tensor.clone()
    return {"state": by_index, "param_groups": plain_values["param_groups"]}


def _raise_mismatch(folder: pathlib.Path, error: Exception) -> NoReturn:
    """Say that a folder is intact but belongs to another model."""
    raise CheckpointError(
        f"{folder} does not fit this run: {error}.",
        why="weights of another shape belong to another model.",
        fix="resume with the settings of that run (its settings.json lists them).",
        page="checkpoint",
    ) from error
