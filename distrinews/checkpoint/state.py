"""Collect the state that decides a run's next step, and restore it.

Names in a checkpoint are those of the bare model, whatever wraps it. After loading, the
state is read again and compared with the saved one.

Not here: files (`distrinews.checkpoint.folders`), which values can be saved
(`distrinews.checkpoint.encoding`).

Guide: understand/checkpoint.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, MutableMapping, MutableSequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from distrinews import dist
from distrinews.checkpoint import encoding
from distrinews.errors import CheckpointError

__all__ = ["Sampler", "TrainingState", "load_model", "random_states", "restore_random"]


@runtime_checkable
class Sampler(Protocol):
    """A sampler whose position follows from the number of trained steps."""

    def state_at(self, step: int) -> dict[str, Any]:
        """Return its position after this many optimizer steps, as plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a position that `state_at` returned."""


@dataclass
class TrainingState:
    """The objects that decide the next step of a run.

    Attributes:
        model: On any device. Names are saved without the prefixes of DDP ("module.")
            and `torch.compile` ("_orig_mod."), so you may save the bare model and
            resume the wrapped one, and vice versa.
        optimizer: Built for the model. Its state is the same on every rank.
        scheduler: Built for the optimizer; None for a constant learning rate.
        sampler: A sampler of `distrinews.sharding` that deals global batches; None if
            the next rows follow from the step.
        extra: Everything else that decides the next step, by name: objects with
            `state_dict` and `load_state_dict` (an averaged model, a gradient scaler, a
            torchmetrics metric) or plain values, tensors and numpy arrays. The same on
            every rank. Loading fills objects, dicts, lists and tensors in place; a
            number or a string is replaced in this dict.
        step: Optimizer steps trained since the beginning of the run. Increase it after
            each `optimizer.step()`; accumulated micro-batches are one step.

    Examples:
        >>> net = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> state = TrainingState(net, optimizer, extra={"best_loss": float("inf")})
        >>> state.step += 1
    """

    model: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | None = None
    sampler: Sampler | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    step: int = 0

    def collect(self) -> dict[str, Any]:
        """Read the state of all objects.

        Returns:
            Sections by name. Their tensors are those of the objects, not copies.

        Raises:
            CheckpointError: The sampler has no position. On this rank only.
        """
        if self.sampler is not None and not isinstance(self.sampler, Sampler):
            raise CheckpointError(
                f"{type(self.sampler).__name__} cannot say where step {self.step} is.",
                why="a resumed run would train rows twice or never.",
                fix="sharding.ShuffledBatchSampler; or keep what has a state_dict() of "
                "its own in TrainingState(..., extra={'sampler': ...}).",
                page="checkpoint",
            )
        position = None if self.sampler is None else self.sampler.state_at(self.step)
        return self._objects() | {"sampler": position, "fits": self._kinds()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Restore a state that `collect` returned.

        Args:
            saved: Its sections.

        Raises:
            ValueError: It belongs to other objects, or did not come back equal.
            LookupError, TypeError, AttributeError, RuntimeError: An object refused its
                state. All on this rank only.
        """
        self._check_fits(saved)
        load_model(self.model, saved["weights"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(saved["scheduler"])
        if self.sampler is not None:
            self.sampler.load_state_dict(saved["sampler"])
        for name, value in saved["extra"].items():
            self.extra[name] = _put_back(self.extra[name], value)
        # Read it again, because torch casts an optimizer's averages to the type of the
        # weights, and a `load_state_dict` may skip unknown entries.
        for name, now in self._objects().items():
            differs = encoding.difference(
                saved[name], now, name=name, ignores_new_keys=True
            )
            if differs:
                raise ValueError(f"after loading, {differs}")

    def _objects(self) -> dict[str, Any]:
        """The states of all objects except the sampler."""
        schedule = None if self.scheduler is None else self.scheduler.state_dict()
        return {
            "weights": _model_state(self.model),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": schedule,
            "extra": {name: _state_of(entry) for name, entry in self.extra.items()},
        }

    def _kinds(self) -> dict[str, Any]:
        """The properties that must be equal for a state to fit other objects."""
        groups = self.optimizer.param_groups
        return {
            "optimizer": type(self.optimizer).__name__,
            "scheduler": type(self.scheduler).__name__,
            "shapes": [list(p.shape) for group in groups for p in group["params"]],
        }

    def _other_shape(self, was: list[Any], now: list[Any]) -> str:
        """Name the first of the optimizer's parameters whose shape differs."""
        if len(was) != len(now):
            return f"its optimizer has {len(was)} parameters, here {len(now)}"
        index = next(i for i, shape in enumerate(was) if shape != now[i])
        params = [p for g in self.optimizer.param_groups for p in g["params"]]
        names = {id(param): name for name, param in self.model.named_parameters()}
        name = names.get(id(params[index]), f"parameter {index} of the optimizer")
        bare = _bare_names(self.model).get(name, name)
        return f"its {bare} has shape {was[index]}, here {now[index]}"

    def _check_fits(self, saved: dict[str, Any]) -> None:
        """Raise ValueError if the objects would load a state that fails later."""
        was, now = saved["fits"], self._kinds()
        for name in ("optimizer", "scheduler"):
            if was[name] != now[name]:
                raise ValueError(f"its {name} is {was[name]}, here is {now[name]}")
        if was["shapes"] != now["shapes"]:
            raise ValueError(self._other_shape(was["shapes"], now["shapes"]))
        if saved["extra"].keys() != self.extra.keys():
            raise ValueError(
                f"its extra is {sorted(saved['extra'])}, here {sorted(self.extra)}"
            )
        if (saved["sampler"] is None) != (self.sampler is None):
            raise ValueError("only one of both has a sampler")
        if self.scheduler is not None:
            check_schedule(saved["scheduler"], self.scheduler.state_dict())


def check_schedule(saved: Any, now: Any) -> None:
    """Raise ValueError if a schedule has entries of the wrong type.

    Args:
        saved: A scheduler's state.
        now: The state of the scheduler that will take it over.

    Raises:
        ValueError: It has such an entry. On this rank only.
    """
    differing = sorted(
        name
        for name, value in now.items()
        if value is not None and _kind(saved.get(name)) is not _kind(value)
    )
    if differing:
        raise ValueError(f"its schedule differs in {differing}")


def _kind(value: Any) -> type:
    """The type, with one for all numbers, because torch and schedules convert them."""
    is_tensor = isinstance(value, torch.Tensor) and value.ndim == 0
    is_number = is_tensor or isinstance(value, (int, float, np.generic))
    return float if is_number and not isinstance(value, bool) else type(value)


def load_model(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """Load weights by their bare names.

    Args:
        model: Bare or wrapped, on any device.
        weights: By bare name, on the CPU.

    Raises:
        RuntimeError: Names or shapes differ. On this rank only.
    """
    wrapped = {bare: name for name, bare in _bare_names(model).items()}
    model.load_state_dict({wrapped.get(n, n): value for n, value in weights.items()})


def random_states() -> dict[str, Any]:
    """Read the states of this rank's random generators.

    Returns:
        Those of torch on the CPU and on this rank's GPU, of Python and of numpy.
    """
    version, words, gauss = random.getstate()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, np.array(words, dtype=np.uint32), gauss],
        "numpy": np.random.get_state(),
    }
    if dist.current().device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(dist.current().device)
    return states


def restore_random(of_ranks: list[dict[str, Any]]) -> None:
    """Restore this rank's random states if the number of ranks is unchanged.

    Args:
        of_ranks: The result of `random_states` on each rank of the earlier run.
    """
    ranks = dist.current()
    if len(of_ranks) != ranks.world_size:
        return
    states = of_ranks[ranks.rank]
    torch.set_rng_state(states["torch"])
    if "python" in states:
        version, words, gauss = states["python"]
        random.setstate((version, tuple(words.tolist()), gauss))
    if "numpy" in states:
        np.random.set_state(states["numpy"])
    if "cuda" in states and ranks.device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], ranks.device)


def _bare_names(model: nn.Module) -> dict[str, str]:
    """For each name in the model's state, the name without wrappers."""
    wrappers: dict[str, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, (DistributedDataParallel, nn.DataParallel)):
            wrappers[path] = "module"
        elif "_orig_mod" in module._modules:  # torch.compile
            wrappers[path] = "_orig_mod"
    bare = {}
    for name in model.state_dict():
        kept, path = [], ""
        for part in name.split("."):
            if wrappers.get(path) != part:
                kept.append(part)
            path = f"{path}.{part}" if path else part
        bare[name] = ".".join(kept)
    return bare


def _model_state(model: nn.Module) -> dict[str, Any]:
    values = model.state_dict().values()
    return dict(zip(_bare_names(model).values(), values, strict=True))


def _state_of(entry: Any) -> Any:
    if isinstance(entry, nn.Module):
        return _model_state(entry)
    return entry.state_dict() if hasattr(entry, "load_state_dict") else entry


def _put_back(entry: Any, value: Any) -> Any:
    """Fill an object, a container or a tensor in place; return the object to keep."""
    if isinstance(entry, nn.Module):
        load_model(entry, value)
    elif hasattr(entry, "load_state_dict"):
        entry.load_state_dict(value)
    elif isinstance(entry, torch.Tensor) and entry.shape == value.shape:
        entry.copy_(value)
    elif isinstance(entry, MutableMapping) and isinstance(value, Mapping):
        entry.clear()
        entry.update(value)
    elif isinstance(entry, MutableSequence) and isinstance(value, list):
        entry[:] = value
    else:
        return value
    return entry
