"""An exercise: what a solution is asked to do, played by real processes and judged.

Promise: the judgement never hangs and never depends on the solution's own messages. A
solution may call too many collectives, too few, or on the wrong rank: ranks compare
what they saw through files, not through the group that the solution may have put out
of step.

A check (`chapters/exercises/checks/NAME.py`) holds `check(stage)` and an `Exercise`. It
calls the solution through `Stage.run`, which records every collective, and says what
is not right with `Stage.expect`, `Stage.at_most` and `Stage.reject_if`.

Not here: finding exercises, showing and grading them
(`distrinews.cli.exercise_commands`).

Guide: learn/exercises.
"""

from __future__ import annotations

import contextlib
import importlib.util
import pathlib
import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from types import ModuleType
from typing import Any, NoReturn

import torch
import torch.distributed as torch_dist

from distrinews import dist
from distrinews.course.exercise_values import Seen, same, shown, unlike_promised
from distrinews.errors import ExerciseError, RejectedError
from distrinews.tracing import timeline
from distrinews.tracing.recorder import Recorder, recording

__all__ = ["PASSED", "Exercise", "Stage", "perform"]

# The line by which a check says that it has nothing to say.
PASSED = "-- the check finds nothing wrong --"
# WHY so long: this is no wait of the solution's own; loading torch may take a while.
START_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Exercise:
    """One task: how many ranks play it and who judges.

    Attributes:
        check: Called as `check(stage)` on every rank; raises through `stage`.
        num_ranks: W.
        timeout_s: How long a collective of the solution waits for the other ranks.
    """

    check: Callable[[Stage], None]
    num_ranks: int = 2
    timeout_s: float = 4.0


@dataclass
class Stage:
    """Where a solution is played: one for each rank.

    Attributes:
        ranks: Who this process is.
        solution: The learner's module; `run` calls its `solve`.
        folder: All ranks may write here; removed afterwards.
    """

    ranks: dist.Ranks
    solution: ModuleType
    folder: pathlib.Path
    _meetings: int = field(default=0, init=False)
    _runs: int = field(default=0, init=False)
    _recorder: Recorder | None = field(default=None, init=False)

    def run(
        self,
        *args: Any,
        watch: torch.nn.Module | None = None,
        catch: tuple[type[Exception], ...] = (),
        **words: Any,
    ) -> tuple[Any, Seen]:
        """Call `solve(ranks, ...)` on this rank; wait until every rank's has ended.

        Every rank must call it.

        Args:
            *args: Passed on.
            watch: A DDP wrapper among them, whose buckets shall be seen, too.
            catch: Errors that a solution may raise; such a one is what is returned.
            **words: Passed on.

        Returns:
            What it returned, and what it did.

        Raises:
            RejectedError: Some rank returned another kind of thing than `solve`
                promises. On every rank.
        """
        self._runs += 1
        records = self.folder / "records" / f"{self._runs:02}"
        with recording(records, self.ranks) as recorder:
            self._recorder = recorder
            if watch is not None:
                recorder.watch(watch)
            began_s = time.perf_counter()
            try:
                got = self.solution.solve(self.ranks, *args, **words)
            except catch as error:
                got = error
            seconds = time.perf_counter() - began_s
        self.wait_for_the_others_solutions_to_end()
        odd = unlike_promised(self.solution.solve, got)
        self.reject_if(bool(odd), odd)
        own = timeline.read(records)[self.ranks.rank]
        return got, Seen([e for e in own if e.kind != "phase"], seconds)

    def phase(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Mark a block of computing that a check does within `solve`, for the picture.

        Args:
            name: Such as "backward".

        Returns:
            For `with`. Outside of `run` nothing is recorded.
        """
        if self._recorder is None:
            return contextlib.nullcontext()
        return self._recorder.phase(name)

    def wait_for_the_others_solutions_to_end(self) -> None:
        """Meet here. A hang names this place: the solution's rank ended too early."""
        self.together(None)

    def together(self, value: Any) -> list[Any]:
        """Gather a value of each rank, without the process group.

        Every rank must call it.

        Args:
            value: Anything that pickles.

        Returns:
            The values, by rank.
        """
        self._meetings += 1
        # WHY a rename: the others must never read half of it.
        own = self._place(self.ranks.rank)
        draft = own.with_suffix(".draft")
        draft.write_bytes(pickle.dumps(value))
        draft.rename(own)
        everyone = [self._place(rank) for rank in range(self.ranks.world_size)]
        while not all(path.exists() for path in everyone):
            time.sleep(0.005)  # ends: the launcher ends all ranks when one has failed
        # Only this process and its siblings wrote here, a moment ago.
        return [pickle.loads(path.read_bytes()) for path in everyone]

    def _place(self, rank: int) -> pathlib.Path:
        return self.folder / f"meeting-{self._meetings:04}-{rank}.pickle"

    def reject_if(self, bad: bool, reason: str) -> None:
        """Reject the solution on every rank if it is bad on any.

        Every rank must call it.

        Args:
            bad: Whether this rank saw it.
            reason: What is wrong and why it matters, one or two sentences. The first
                bad rank's words are used.

        Raises:
            RejectedError: On every rank.
        """
        for told in self.together(reason if bad else None):
            if told is not None:
                _reject(told)

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
        everyone = self.together((shown(got), shown(want), same(got, want)))
        if all(right for _, _, right in everyone):
            return
        held = ", ".join(
            f"{value} on rank {rank}" for rank, (value, _, _) in enumerate(everyone)
        )
        wanted = " / ".join(dict.fromkeys(value for _, value, _ in everyone))
        _reject(f"{what}: {held}; right is {wanted}." + f" {why}" * bool(why))

    def at_most(self, what: str, value: float, *, limit: float, why: str) -> None:
        """Reject if some rank is above the target.

        Every rank must call it.

        Args:
            what: Of which there shall not be too much, with its unit.
            value: Of this rank.
            limit: The largest that passes.
            why: How to come below, a sentence.

        Raises:
            RejectedError: On every rank.
        """
        most = max(self.together(value))
        told, target = _number(most), _number(limit)
        if self.ranks.is_main:
            print(f"{what}: {told}; target: at most {target}", flush=True)
        if most > limit:
            _reject(f"{what}: {told}; the target is {target}. {why}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:,.6g}"


def _reject(what: str) -> NoReturn:
    raise RejectedError(
        what,
        why="the program may end well and still not do what was asked.",
        fix="python -m distrinews exercise hint NAME",
        page="exercises",
    )


def perform(check: str, solution: str, folder: str) -> None:
    """Play a solution before a check, in processes of its own.

    Args:
        check: The check's file.
        solution: The learner's file.
        folder: For records and meetings.

    Raises:
        ExerciseError: The solution has no `solve`, or cannot be imported.
        RejectedError: It does not do what was asked.
    """
    exercise: Exercise = _load(check, "exercise_check").EXERCISE
    dist.launch(
        _act,
        *(check, solution, folder),
        num_ranks=exercise.num_ranks,
        timeout_s=START_TIMEOUT_S,
    )
    print(PASSED, flush=True)


def _act(ranks: dist.Ranks, check: str, solution: str, folder: str) -> None:
    """One rank: load both files, let the check look."""
    exercise = _prepare(check, ranks)
    exercise.check(Stage(ranks, _solution(solution), pathlib.Path(folder)))


def _prepare(check: str, ranks: dist.Ranks) -> Exercise:
    """Load a check; from now on collectives wait only as long as it says."""
    exercise: Exercise = _load(check, "exercise_check").EXERCISE
    if ranks.world_size > 1:
        # There is no public way to change a group's timeout (torch 2.13). WHY not from
        # the start: see START_TIMEOUT_S.
        shorter: Any = torch_dist.distributed_c10d._set_pg_timeout
        shorter(timedelta(seconds=exercise.timeout_s))
    return exercise


def _solution(path: str) -> ModuleType:
    module = _load(path, "solution")
    if not callable(getattr(module, "solve", None)):
        raise ExerciseError(
            f"{path} has no function `solve`.",
            why="the check calls it.",
            fix="keep its name and its arguments as the exercise has them.",
            page="exercises",
        )
    return module


def _load(path: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ExerciseError(
            f"{path} is no Python file.",
            why="it could not be imported.",
            fix="python -m distrinews exercise list",
            page="exercises",
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
