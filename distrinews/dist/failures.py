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

__all__ = ["Report", "raise_root_cause"]


@dataclass(frozen=True)
class Report:
    """What a failing rank tells the process that started it."""

    rank: int
    failed_at_s: float
    error: DistriNewsError | None
    summary: str
    location: str
    traceback_text: str


def raise_root_cause(
    reports: Sequence[Report],
    ended: Mapping[int, int],
    *,
    hanging: Sequence[int],
    locations: Mapping[int, str],
) -> NoReturn:
    """Raise the one failure that explains the others.

    Args:
        reports: What failing ranks reported.
        ended: Rank -> exit code, of those that have ended; not all of them are 0.
        hanging: Ranks that are still running and have reported nothing.
        locations: Rank -> line that it executes, of the hanging ranks that answered.

    Raises:
        DistriNewsError: The first failure was one; it is raised again, once.
        BrokenPipeError: It was one: most likely nobody reads the output any more.
        RankFailedError: It was anything else. Names the rank and the line.
    """
    # WHY this order: a rank that dies takes the others' next collective with it, and
    # they report a closed connection. So: first a rank that died without a word, then
    # the earliest report.
    reported = {report.rank for report in reports}
    for rank, code in sorted(ended.items()):
        if code != 0 and rank not in reported:
            _raise_died(rank, code)
    _raise_hang(reports, hanging, locations)
    first = min(reports, key=lambda report: report.failed_at_s)
    if first.error is not None:
        raise first.error
    if first.summary.startswith("BrokenPipeError"):
        # `... | head` has read enough. `console.run` ends a program quietly then.
        broken = BrokenPipeError(f"rank {first.rank} raised {first.summary}.")
        broken.add_note(first.traceback_text)
        raise broken
    failed = RankFailedError(
        f"rank {first.rank} raised {first.summary}.",
        why="the other ranks were stopped: they would have waited for it for ever.",
        fix=f"read the traceback of rank {first.rank} above; it failed first.",
        page="rank-failed",
    )
    failed.add_note(first.traceback_text)
    raise failed


def _raise_hang(
    reports: Sequence[Report], hanging: Sequence[int], locations: Mapping[int, str]
) -> None:
    """If ranks gave up waiting, say for whom they waited, and where that rank is."""
    first = min(reports, key=lambda report: report.failed_at_s)
    # gloo's own words, and those of the barrier that debugging puts before it.
    timeout_words = ("timed out", "monitoredbarrier")
    if first.error is not None or not any(
        w in first.summary.lower() for w in timeout_words
    ):
        return  # somebody failed for another reason; that is the cause
    # WHY all of them: those who report a closed connection waited, too, until the first
    # one gave up and left.
    waiting = [report for report in reports if report.error is None]
    waiting_at = "; ".join(
        f"rank {r.rank} {r.location}" for r in sorted(waiting, key=_rank_of)
    )
    if hanging:
        missing = "; ".join(
            f"rank {rank} is at {locations.get(rank, 'a halt: its process is frozen')}"
            for rank in hanging
        )
        message = (
            f"{missing}. It did not come to where others waited for it: {waiting_at}."
        )
    else:
        message = f"ranks waited for each other in different places: {waiting_at}."
    hung = RankFailedError(
        message,
        why="a collective ends when every rank has called it; the others waited until "
        "the timeout.",
        fix="let every rank call the same collectives in the same order; look at the "
        "line named first. If it only needs longer: setup(timeout_s=...).",
        page="rank-hung",
    )
    hung.add_note(first.traceback_text)
    raise hung


def _rank_of(report: Report) -> int:
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
