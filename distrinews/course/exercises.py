"""An exercise: run a solution in real processes and judge it.

The judgement never hangs and never depends on the solution's messages. A solution may
call too many collectives, too few, or call them on the wrong rank: the ranks compare
their results through files, not through the group, in which the solution may have mixed
up the calls.

A check (`chapters/exercises/checks/NAME.py`) holds `check(harness)` and an `Exercise`.
It calls the solution through `Harness.run`, which records every collective, and rejects
it with `Harness.expect`, `Harness.at_most` and `Harness.reject_if`.

Not here: finding exercises, showing and grading them
(`distrinews.cli.exercise_commands`).

Guide: learn/exercises.
"""

from __future__ import annotations

import contextlib
import pathlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NoReturn

import torch

from distrinews import dist
from distrinews.course import file_gather
from distrinews.course.exercise_values import (
    CallTrace,
    disagreement,
    format_value,
    return_type_error,
    same,
)
from distrinews.course.lab_process import PASSED
from distrinews.dist import process_group
from distrinews.errors import ExerciseError, RejectedError
from distrinews.system import checkout
from distrinews.tracing import timeline
from distrinews.tracing.recorder import Recorder, recording

__all__ = ["Exercise", "Harness", "run_check"]

# WHY so long: this limits the start, not the solution; loading torch may take a while.
START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Exercise:
    """One task: how many ranks run it, and the check that judges it.

    Attributes:
        check: Called as `check(harness)` on every rank; rejects through `harness`.
        num_ranks: W.
        timeout_s: How long a collective of the solution waits for the other ranks.
    """

    check: Callable[[Harness], None]
    num_ranks: int = 2
    timeout_s: float = 4.0


@dataclass
class Harness:
    """Run a solution on one rank and compare the result with the task.

    Attributes:
        ranks: This process.
        solution: The learner's module; `run` calls its `solve`.
        folder: A folder for all ranks; removed afterwards.
    """

    ranks: dist.Ranks
    solution: ModuleType
    folder: pathlib.Path
    _num_gathers: int = field(default=0, init=False)
    _num_runs: int = field(default=0, init=False)
    _recorder: Recorder | None = field(default=None, init=False)

    def run(
        self,
        *args: Any,
        watch: torch.nn.Module | None = None,
        catch: tuple[type[Exception], ...] = (),
        **kwargs: Any,
    ) -> tuple[Any, CallTrace]:
        """Call `solve(ranks, ...)` on this rank; wait until it has ended on every rank.

        Every rank must call it.

        Args:
            *args: Passed on.
            watch: A DDP wrapper among them, to record its buckets too.
            catch: Errors that a solution may raise; such an error is returned.
            **kwargs: Passed on.

        Returns:
            What it returned, and what it did.

        Raises:
            RejectedError: A rank returned a value of another type than `solve` is
                annotated with. On every rank.
        """
        self._num_runs += 1
        records = self.folder / "records" / f"{self._num_runs:02}"
        with recording(records, self.ranks) as recorder:
            self._recorder = recorder
            if watch is not None:
                recorder.watch(watch)
            began_s = time.perf_counter()
            try:
                got = self.solution.solve(self.ranks, *args, **kwargs)
            except catch as error:
                got = error
            seconds = time.perf_counter() - began_s
        self.wait_for_other_ranks()
        error_text = return_type_error(self.solution.solve, got)
        self.reject_if(bool(error_text), error_text)
        events = timeline.read(records)[self.ranks.rank]
        return got, CallTrace([e for e in events if e.kind != "phase"], seconds)

    def phase(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Mark a block of computing that a check runs within `solve`, for the picture.

        Args:
            name: Such as "backward".

        Returns:
            For `with`. Outside of `run` nothing is recorded.
        """
        if self._recorder is None:
            return contextlib.nullcontext()
        return self._recorder.phase(name)

    def wait_for_other_ranks(self) -> None:
        """Wait until the solution has returned on every rank.

        Every rank must call it. If another rank's solution hangs, the error says that
        this rank had already left `solve`.
        """
        self.gather_objects(None)

    def gather_objects(self, value: Any) -> list[Any]:
        """Gather a value of each rank, without the process group.

        Every rank must call it.

        Args:
            value: Anything that pickles.

        Returns:
            The values, by rank.
        """
        self._num_gathers += 1
        name = f"gather-{self._num_gathers:04}"
        return file_gather.gather_objects(
            value, self.ranks, folder=self.folder, name=name
        )

    def reject_if(self, bad: bool, reason: str) -> None:
        """Reject the solution on every rank if it is bad on any.

        Every rank must call it.

        Args:
            bad: Whether this rank found the fault.
            reason: What is wrong and why it matters, in one or two sentences. The first
                such rank's text is used.

        Raises:
            RejectedError: On every rank.
        """
        for rank_reason in self.gather_objects(reason if bad else None):
            if rank_reason is not None:
                _reject(rank_reason)

    def expect(self, what: str, got: Any, *, want: Any, why: str = "") -> None:
        """Reject unless every rank holds the right value.

        Every rank must call it.

        Args:
            what: Name of the value, for the message.
            got: What this rank holds: numbers, texts, tensors, lists of them.
            want: What it should hold.
            why: The likely cause, a sentence.

        Raises:
            RejectedError: Some rank holds something else. On every rank.
        """
        results = self.gather_objects((
            format_value(got),
            format_value(want),
            same(got, want),
        ))
        if text := disagreement(what, results):
            _reject(text + f" {why}" * bool(why))

    def at_most(self, what: str, value: float, *, limit: float, why: str) -> None:
        """Reject if some rank is above the target.

        Every rank must call it.

        Args:
            what: Name of the measured quantity, with its unit.
            value: Of this rank.
            limit: The largest value that passes.
            why: How to get below it, in a sentence.

        Raises:
            RejectedError: On every rank.
        """
        most = max(self.gather_objects(value))
        measured, target = _number(most), _number(limit)
        if self.ranks.is_main:
            print(f"{what}: {measured}; target: at most {target}", flush=True)
        if most > limit:
            _reject(f"{what}: {measured}; the target is {target}. {why}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.6g}"


def _reject(what: str) -> NoReturn:
    raise RejectedError(
        what,
        why="the program may end well and still not do what was asked.",
        fix="python -m distrinews exercise hint NAME",
        page="exercises",
    )


def run_check(check: str, solution: str, folder: str) -> None:
    """Check a solution in new processes.

    Args:
        check: The check's file.
        solution: The learner's file.
        folder: For records and for values that the ranks exchange.

    Raises:
        ExerciseError: The solution has no `solve`, or cannot be imported.
        RejectedError: It does not do what the task asks for.
    """
    exercise = _load_exercise(check)
    dist.launch(
        _run_rank,
        *(check, solution, folder),
        num_ranks=exercise.num_ranks,
        timeout_s=START_TIMEOUT_S,
    )
    print(PASSED, flush=True)


def _run_rank(ranks: dist.Ranks, check: str, solution: str, folder: str) -> None:
    """One rank: load both files, run the check."""
    exercise = _load_exercise(check)
    process_group.set_timeout(exercise.timeout_s)  # not before: see START_TIMEOUT_S
    exercise.check(Harness(ranks, _load_solution(solution), pathlib.Path(folder)))


def _load_exercise(check: str) -> Exercise:
    module = checkout.load_file(check, error=ExerciseError, page="exercises")
    exercise: Exercise = module.EXERCISE
    return exercise


def _load_solution(path: str) -> ModuleType:
    module = checkout.load_file(path, error=ExerciseError, page="exercises")
    if not callable(getattr(module, "solve", None)):
        raise ExerciseError(
            f"{path} has no function `solve`.",
            why="the check calls it.",
            fix="keep its name and its arguments as the exercise has them.",
            page="exercises",
        )
    return module
