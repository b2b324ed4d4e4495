"""Small collectives: sums, shared objects, and errors raised on all ranks together.

The rule behind this module: no rank raises alone before a collective. A rank that did
would leave the others waiting until the timeout, and their timeout reports would bury
the real cause. So the ranks vote first, and then all raise the same error.

Without a process group every function here uses this rank's value only.

Not here: making the process group (`distrinews.dist.process_group`), gradients,
metrics. Import all of this from `distrinews.dist`.

Letters used for shapes: W = number of ranks.
Guide: understand/collectives.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Generator
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as torch_dist

from distrinews.dist.process_group import timeout_of
from distrinews.errors import DistriNewsError, RankFailedError

__all__ = [
    "broadcast_object",
    "gather_objects",
    "raise_together",
    "sum_over_ranks",
    "vote_then_raise",
]

T = TypeVar("T")
Number = TypeVar("Number", int, float, torch.Tensor)


def sum_over_ranks(value: Number) -> Number:
    """Add up one number or tensor over all ranks; every rank gets the sum.

    Collective: every rank must call it.

    Args:
        value: An int (summed exactly), a float (summed in float64) or a CPU tensor; of
            the same kind, shape and type on every rank. It is not changed.

    Returns:
        The sum, of the same kind and shape. For bools it is the number of True values:
        an int, or an int64 tensor.

    Note:
        Cost: one all-reduce, of 8 bytes for a number, of the tensor's bytes for a
        tensor.

    Examples:
        >>> sum_over_ranks(3), sum_over_ranks(torch.tensor([1, 2])).tolist()
        (3, [1, 2])
        >>> sum_over_ranks(True)  # the number of ranks that say True
        1
    """
    if isinstance(value, torch.Tensor):
        # The sum of bools would be a bool: two ranks that pass True would give True.
        total = value.long() if value.dtype == torch.bool else value.clone()
        _all_reduce(total)
        return total
    # float64, because the last digits of a sum of many float32 losses depend on their
    # order; in float64 the difference is far below anything that is printed.
    is_whole = isinstance(value, int | np.integer | np.bool_)
    number = torch.tensor(value, dtype=torch.int64 if is_whole else torch.float64)
    _all_reduce(number)
    return number.item()  # type: ignore[return-value]  # an int or a float, as `value`


def gather_objects(value: T) -> list[T]:
    """Collect one object per rank; every rank gets the list, in rank order.

    Collective: every rank must call it.

    Args:
        value: Anything that pickles. Keep it small: it is sent to every rank.

    Returns:
        W objects; the object at index k is rank k's.

    Note:
        Cost: two all-gathers; every rank receives W pickles, padded to the longest.

    Examples:
        >>> gather_objects("here")
        ['here']
    """
    if not torch_dist.is_initialized():
        return [value]
    gathered: list[T | None] = [None] * torch_dist.get_world_size()
    torch_dist.all_gather_object(gathered, value)
    return gathered  # type: ignore[return-value]  # all_gather_object filled each entry


def broadcast_object(value: T) -> T:
    """Give every rank the object of rank 0.

    Collective: every rank must call it.

    Args:
        value: Only rank 0's value is used; the others' is ignored.

    Returns:
        Rank 0's object, on every rank.

    Note:
        Cost: two broadcasts, of 8 bytes and of the pickle.

    Examples:
        >>> broadcast_object("run-1")
        'run-1'
    """
    if not torch_dist.is_initialized():
        return value
    objects = [value]
    torch_dist.broadcast_object_list(objects, src=0, device=torch.device("cpu"))
    return objects[0]


def vote_then_raise(
    problem: Exception | None, *, group: torch_dist.ProcessGroup | None = None
) -> None:
    """Raise on every rank if any rank has a problem.

    Collective: every rank must call it, with None if it has no problem.

    Args:
        problem: What this rank would have raised, or None.
        group: The group to vote in; None for all ranks with the usual timeout.

    Raises:
        DistriNewsError: On every rank, the error of the lowest rank that has one.
        RankFailedError: On every rank, if that error was of another type. It names the
            rank and carries its traceback as a note.

    Note:
        Cost: one all-reduce of 8 bytes; the error itself is sent only if a rank has
        one.

    Examples:
        >>> vote_then_raise(None)
    """
    # Two steps, because a vote without errors, which is nearly every vote, then costs 8
    # bytes: cheap enough to call before every risky collective.
    flag = torch.tensor(0 if problem is None else 1)
    _all_reduce(flag, group)
    if flag.item() == 0:
        return
    local_error = None if problem is None else _picklable_error(problem)
    first_error = next(
        error for error in gather_objects(local_error) if error is not None
    )
    if isinstance(problem, DistriNewsError) and str(problem) == str(first_error):
        # WHY: it knows where it was raised. The copy that travelled does not, and both
        # in a row print everything twice.
        raise problem
    raise first_error from problem


@contextlib.contextmanager
def raise_together() -> Generator[None, None, None]:
    """Let every rank finish the block, then raise on all if any failed inside.

    Collective: every rank must enter and leave it. Call no collective inside: the rank
    that fails would skip it, and the others would wait in it.

    Yields:
        None.

    Raises:
        DistriNewsError: As `vote_then_raise`, on every rank.

    Examples:
        >>> with raise_together():
        ...     rows = [1, 2, 3]
    """
    problem: Exception | None = None
    try:
        yield
    except Exception as error:  # any error: the other ranks wait for our vote
        problem = error
    vote_then_raise(problem)


def _picklable_error(problem: Exception) -> DistriNewsError:
    """An error that can be pickled and names its rank."""
    if isinstance(problem, DistriNewsError):
        return problem
    rank = torch_dist.get_rank() if torch_dist.is_initialized() else 0
    failed = RankFailedError(
        f"rank {rank} raised {type(problem).__name__}: {problem}.",
        why="all ranks stop: the others would have waited for it forever.",
        fix=f"read the traceback of rank {rank}, printed with this message.",
        page="rank-failed",
    )
    failed.add_note("".join(traceback.format_exception(problem)))
    return failed


def _all_reduce(
    tensor: torch.Tensor, group: torch_dist.ProcessGroup | None = None
) -> None:
    if not torch_dist.is_initialized():
        return
    if _debug_level_is_on() and torch_dist.get_backend(group) == "gloo":
        # This barrier knows which ranks have arrived. When it times out it names the
        # missing ones; an all-reduce can only report that it waited. Its default
        # timeout would be 30 minutes, whatever the group's is.
        torch_dist.monitored_barrier(group, timeout_of(group), True)
    torch_dist.all_reduce(tensor, group=group)


def _debug_level_is_on() -> bool:
    """Whether TORCH_DISTRIBUTED_DEBUG is INFO or DETAIL."""
    # mypy: torch exports these at run time only.
    level = torch_dist.get_debug_level()  # type: ignore[attr-defined]
    return bool(level != torch_dist.DebugLevel.OFF)  # type: ignore[attr-defined]
