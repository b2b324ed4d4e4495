"""What happens to somebody's training on one rank, after a number of steps."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook

__all__ = ["ACTIONS", "after_step", "end_step"]


def _raise() -> None:
    raise ValueError("row 4711 has no label")


ACTIONS: dict[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "leave": lambda: sys.exit(0),
    "raise": _raise,
}
_steps_taken = 0


def end_step(step: int, action: str) -> None:
    """Count a step; the last rank acts after so many steps of its process."""
    global _steps_taken
    _steps_taken += 1
    is_last = (
        int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", 1)) - 1
    )
    if is_last and _steps_taken == step:
        ACTIONS[action]()


def after_step(step: int, action: str) -> None:
    """Let this process act after so many `optimizer.step()`, unknown to its script."""

    def hook(*_: Any) -> None:
        end_step(step, action)

    register_optimizer_step_post_hook(hook)
