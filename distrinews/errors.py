"""Every error a user can cause, each with its cure.

Promise: an error says what happened (with the offending values), why it matters, how
to fix it (something you can type) and where to read more. It survives the trip from
a spawned rank to the process that started it.

Not here: printing (`distrinews.system.console`) and agreeing on an error over all ranks
(`distrinews.dist.vote_then_raise`).

Guide: troubleshooting.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "DataError",
    "DistriNewsError",
    "ExerciseError",
    "HubUnreachableError",
    "InterviewError",
    "LabError",
    "MissingGradientError",
    "ModelError",
    "OutputError",
    "RankFailedError",
    "RejectedError",
    "ReplicasDifferError",
    "ResultError",
    "SettingsError",
    "SetupError",
    "WrongResultError",
]


class DistriNewsError(Exception):
    """Base class. Says what happened, why it matters and how to fix it.

    Args:
        what: One sentence with the offending names and values.
        why: The consequence if the run had gone on.
        fix: What to change, as something that can be typed.
        page: Anchor in the troubleshooting page, e.g. `"uneven-shards"`.

    Examples:
        >>> raise SettingsError("num_ranks is 0.", why="no process would train.",
        ...                     fix="--num-ranks 2", page="settings")
        Traceback (most recent call last):
        ...
        distrinews.errors.SettingsError: num_ranks is 0.
          why:  no process would train.
          fix:  --num-ranks 2
          more: troubleshooting/#settings
    """

    # The exit code of a program that ends with this error: 2 says "your input".
    exit_code = 2

    def __init__(self, what: str, *, why: str, fix: str, page: str) -> None:
        self.what, self.why, self.fix, self.page = what, why, fix, page
        super().__init__(
            f"{what}\n  why:  {why}\n  fix:  {fix}\n  more: troubleshooting/#{page}"
        )

    def __reduce__(self) -> tuple[object, ...]:
        # WHY: pickle would call cls(message), and the keyword-only arguments would be
        # lost on the way out of a spawned rank: a TypeError instead of the cause.
        # The third part carries notes, such as the traceback of the rank that failed.
        arguments = (type(self), self.what, self.why, self.fix, self.page)
        return _rebuild, arguments, self.__dict__


def _rebuild(
    cls: type[DistriNewsError], what: str, why: str, fix: str, page: str
) -> DistriNewsError:
    return cls(what, why=why, fix=fix, page=page)


class SettingsError(DistriNewsError, ValueError):
    """A setting is unknown, out of range, or does not fit another one."""


class DataError(DistriNewsError, ValueError):
    """Rows are missing, malformed or not usable for training."""


class ModelError(DistriNewsError, ValueError):
    """A preset or an exported model is missing, damaged or of another kind."""


class HubUnreachableError(DistriNewsError, ConnectionError):
    """The Hugging Face Hub did not answer and nothing is cached."""


class OutputError(DistriNewsError, OSError):
    """A result could not be written: folder missing, not writable, disk full."""


class CheckpointError(DistriNewsError, ValueError):
    """A checkpoint is missing, damaged or belongs to another run."""


class SetupError(DistriNewsError, RuntimeError):
    """A process group was asked for in a way that cannot work."""


class MissingGradientError(DistriNewsError, RuntimeError):
    """A trainable parameter reached gradient averaging without a gradient."""


class ReplicasDifferError(DistriNewsError, RuntimeError):
    """Replicas that must be equal hold different values."""


class ResultError(DistriNewsError, ValueError):
    """A file of measurements is damaged, or may not be compared with another."""


class LabError(DistriNewsError, ValueError):
    """A lab was asked for that is not there, or its file lacks something."""


class ExerciseError(DistriNewsError, ValueError):
    """An exercise was asked for that is not there, or a solution cannot be run."""


class InterviewError(DistriNewsError, ValueError):
    """No card is of that kind, or the file of your answers is damaged."""


class RejectedError(DistriNewsError, RuntimeError):
    """A solution does not do what its exercise asks."""


class WrongResultError(DistriNewsError, RuntimeError):
    """A program ended well, and its result is wrong: a lab's detector found it."""


class RankFailedError(DistriNewsError, RuntimeError):
    """One rank stopped with an unexpected error; the others were stopped with it."""

    # WHY 1 and not 2: this is a crash, not an input that the user can correct.
    exit_code = 1
