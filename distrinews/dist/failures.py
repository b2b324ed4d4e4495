"""Which rank's failure explains the others: one error out of many reports.

Promise: when ranks fail together, the reader sees one cause: the rank that died without
a word, or that failed first, or that the others waited for until the timeout.

Not here: collecting the reports (`distrinews.dist.spawn`).

Guide: understand/failures.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from distrinews.errors import DistriNewsError, RankFailedError

__all__ = ["Report", "raise_cause"]


@dataclass(frozen=True)
class Report:
    """What a failing rank tells the process that started it."""

    rank: int
    at_s: float
    error: DistriNewsError | None
    summary: str
    where: str
    trace: str


def raise_cause(
    reports: Sequence[Report],
    ended: Mapping[int, int],
    *,
    silent: Sequence[int],
    answers: Mapping[int, str],
) -> NoReturn:
    """Raise the one failure that explains the others.

    Args:
        reports: What failing ranks told.
        ended: Rank -> exit code, of those that have ended; not all of them are 0.
        silent: Ranks that are still running and have told nothing.
        answers: Where those of them are that could be asked.

    Raises:
        DistriNewsError: The first failure was one; it is raised again, once.
        BrokenPipeError: It was one: most likely nobody reads the output any more.
        RankFailedError: It was anything else. Names the rank and the line.
    """
    # WHY this order: a rank that dies takes the others' next collective with it, and
    # they report a closed connection. So: first a rank that died without a word, then
    # the earliest report.
    told = {report.rank for report in reports}
    for rank, code in sorted(ended.items()):
        if code != 0 and rank not in told:
            _raise_died(rank, code)
    _raise_hang(reports, silent, answers)
    first = min(reports, key=lambda report: report.at_s)
    if first.error is not None:
        raise first.error
    if first.summary.startswith("BrokenPipeError"):
        # `... | head` has read enough. `console.run` ends a program quietly then.
        broken = BrokenPipeError(f"rank {first.rank} raised {first.summary}.")
        broken.add_note(first.trace)
        raise broken
    failed = RankFailedError(
        f"rank {first.rank} raised {first.summary}.",
        why="the other ranks were stopped: they would have waited for it for ever.",
        fix=f"read the traceback of rank {first.rank} above; it failed first.",
        page="rank-failed",
    )
    failed.add_note(first.trace)
    raise failed


def _raise_hang(
    reports: Sequence[Report], silent: Sequence[int], answers: Mapping[int, str]
) -> None:
    """If ranks gave up waiting, say for whom they waited, and where that rank is."""
    first = min(reports, key=lambda report: report.at_s)
    # gloo's own words, and those of the barrier that debugging puts before it.
    gave_up = ("timed out", "monitoredbarrier")
    if first.error is not None or not any(w in first.summary.lower() for w in gave_up):
        return  # somebody failed for another reason; that is the cause
    # WHY all of them: those who report a closed connection waited, too, until the first
    # one gave up and left.
    waited = [report for report in reports if report.error is None]
    places = "; ".join(f"rank {r.rank} {r.where}" for r in sorted(waited, key=_rank))
    if silent:
        missing = "; ".join(
            f"rank {rank} is at {answers.get(rank, 'a halt: its process is frozen')}"
            for rank in silent
        )
        what = f"{missing}. It did not come to where others waited for it: {places}."
    else:
        what = f"ranks waited for each other in different places: {places}."
    hung = RankFailedError(
        what,
        why="a collective ends when every rank has called it; the others waited until "
        "the timeout.",
        fix="let every rank call the same collectives in the same order; look at the "
        "line named first. If it only needs longer: setup(timeout_s=...).",
        page="rank-hung",
    )
    hung.add_note(first.trace)
    raise hung


def _rank(report: Report) -> int:
    return report.rank


def _raise_died(rank: int, code: int) -> NoReturn:
    if code > 0:
        raise RankFailedError(
            f"rank {rank} ended with exit code {code} before it reached its function.",
            why="a new process first imports the file that holds the function; that "
            "failed, or the file starts processes itself. The others were stopped.",
            fix='read the lines above; start below `if __name__ == "__main__":`.',
            page="rank-failed",
        )
    name = f"signal {-code}"
    with contextlib.suppress(ValueError):
        name = signal.Signals(-code).name
    raise RankFailedError(
        f"rank {rank} was killed by {name} and left no traceback.",
        why="SIGKILL most often means that the machine ran out of memory; SIGSEGV is "
        "a crash in compiled code. The other ranks were stopped.",
        fix="--num-ranks 1 or a smaller --global-batch-size, and close other programs.",
        page="rank-killed",
    )
