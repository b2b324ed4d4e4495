"""Compare what a solution returned and did with what the task asks for.

Not here: running it and rejecting it (`distrinews.course.exercises`).

Guide: learn/exercises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from distrinews.tracing import timeline

__all__ = ["CallTrace", "disagreement", "format_value", "return_type_error", "same"]


@dataclass(frozen=True)
class CallTrace:
    """What one call of the solution did on this rank.

    Attributes:
        events: Collectives and messages, in order.
        seconds: From call to return.
    """

    events: list[timeline.Event]
    seconds: float

    def calls(self, name: str = "") -> int:
        """Count collectives.

        Args:
            name: Count only this one, e.g. "all_reduce"; empty: all collectives.

        Returns:
            How often this rank called it. Messages to one rank are counted by their
            names.

        Examples:
            >>> CallTrace([], 0.0).calls()
            0
        """
        return sum(
            event.name == name if name else event.kind == "collective"
            for event in self.events
        )

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors that this rank passed to collectives and messages."""
        return sum(event.num_bytes for event in self.events)


def return_type_error(solve: Callable[..., Any], got: Any) -> str:
    """Explain why a value does not have the type of the function's annotation.

    Why: otherwise a check would fail in its own code, or report "7 on rank 0; right is
    7" for a tensor.

    Args:
        solve: The learner's function, with the annotation that the task has.
        got: What it returned.

    Returns:
        A sentence; empty if it may be.

    Examples:
        >>> def solve() -> float: ...
        >>> return_type_error(solve, torch.tensor(7.0))
        '`solve` promises `float` and returns a tensor: `.item()` takes the number out.'
        >>> return_type_error(solve, 7.0)
        ''
    """
    annotation = getattr(solve, "__annotations__", {}).get("return", "None")
    promised = str(annotation.__name__ if isinstance(annotation, type) else annotation)
    if isinstance(got, Exception) or "None" in promised:
        return ""
    prefix = f"`solve` promises `{promised}` and returns "
    if got is None:
        return f"{prefix}nothing: is a `return` missing?"
    if isinstance(got, torch.Tensor) and promised in {"float", "int"}:
        return f"{prefix}a tensor: `.item()` takes the number out."
    if isinstance(got, torch.Tensor) and promised.startswith("list["):
        return f"{prefix}a tensor: `.tolist()` makes a list of it."
    if promised.startswith("tuple[") and not isinstance(got, tuple | list):
        return f"{prefix}one {type(got).__name__}."
    return ""


def same(got: Any, want: Any) -> bool:
    """Compare a returned value with the right one.

    Args:
        got: Numbers, texts, tensors, lists of them; or anything else by mistake.
        want: The right one.

    Returns:
        Whether they are equal, floats and tensors up to rounding; never by shape alone.

    Examples:
        >>> same([1, 2.0000001], (1, 2.0)), same(None, 2.0)
        (True, False)
    """
    if isinstance(want, torch.Tensor):
        if not isinstance(got, torch.Tensor) or got.shape != want.shape:
            return False
        return torch.allclose(got.double(), want.double(), rtol=1e-5, atol=1e-6)
    if isinstance(want, list | tuple):
        return (
            isinstance(got, list | tuple)
            and len(got) == len(want)
            and all(map(same, got, want))
        )
    if isinstance(want, float):
        # WHY a tolerance: the sum of float32 numbers depends on their order.
        return isinstance(got, int | float) and abs(got - want) <= 1e-6 + 1e-5 * abs(
            want
        )
    return bool(got == want)


def disagreement(what: str, results: Sequence[tuple[str, str, bool]]) -> str:
    """Say which rank holds which value, if any rank's value is wrong.

    Args:
        what: Name of the value.
        results: By rank: its value, the right value, and whether they are `same`.

    Returns:
        A sentence; empty if every rank is right.

    Examples:
        >>> disagreement("rows", [("8", "8", True), ("9", "8", False)])
        'rows: 8 on rank 0, 9 on rank 1; right is 8.'
    """
    if all(is_right for _, _, is_right in results):
        return ""
    values_by_rank = ", ".join(
        f"{value} on rank {rank}" for rank, (value, _, _) in enumerate(results)
    )
    wanted = " / ".join(dict.fromkeys(value for _, value, _ in results))
    return f"{what}: {values_by_rank}; right is {wanted}."


def format_value(value: Any) -> str:
    """Write a value for a message: short, tensors as lists.

    Args:
        value: Anything.

    Returns:
        One line.

    Examples:
        >>> format_value(torch.arange(10.0)), format_value(1 / 3)
        ('[0, 1, 2, 3, 4, 5, 6, 7, ...]', '0.33333')
    """
    if isinstance(value, torch.Tensor):
        value = value.tolist()
    if isinstance(value, list | tuple):
        parts = [format_value(item) for item in value[:8]]
        return "[" + ", ".join(parts + ["..."] * (len(value) > 8)) + "]"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
