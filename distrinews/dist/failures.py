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

__all__ = [
    "Began",
    "Left",
    "Report",
    "is_consequence",
    "left_early",
    "raise_root_cause",
]

SIGABRT = 6  # Windows has no such signal
# What Windows ends a process with, and what a reader should know of it. Source:
# Microsoft's [MS-ERREF], "NTSTATUS Values".
WINDOWS_EXIT_CODES = {
    0xC0000005: "access violation: a crash in compiled code",
    0xC0000017: "no memory: the machine ran out of it",
    0xC000001D: "illegal instruction: compiled code that this processor cannot run",
    0xC00000FD: "stack overflow",
    0xC000012D: "commitment limit: memory and page file are full",
    0xC0000135: "a DLL was not found",
    0xC000013A: "Ctrl-C",
    0xC0000142: "a DLL could not start",
    0xC0000374: "heap corruption: a crash in compiled code",
    0xC0000409: "fail fast: compiled code gave up, as by abort()",
    0x40000015: "abort() in compiled code",
}
# How gloo and nccl say that another rank is gone or did not come.
CONSEQUENCES = (
    *("connection closed", "connection reset", "connection refused", "broken pipe"),
    *("connection was likely closed", "pair closure", "timed out", "timeout", "socket"),
    *("monitoredbarrier", "nccl", "distbackenderror", "distnetworkerror"),
)
# What the most frequent signals mean for a rank.
SIGNAL_MEANINGS = {
    "SIGKILL": "SIGKILL most often means that the machine ran out of memory.",
    "SIGABRT": "compiled code gave up, and its last words stand above: a collective "
    "whose sizes differ, nccl's watchdog after a timeout, or a CUDA error that it met.",
    "SIGSEGV": "SIGSEGV is a crash in compiled code.",
    "SIGBUS": "SIGBUS most often means that shared memory (/dev/shm) is full.",
    "SIGTERM": "another program asked it to end.",
}


@dataclass(frozen=True)
class Began:
    """What a rank tells its starter once it has reached its function.

    It tells it again when it has joined a process group, with the group's backend and
    timeout. The clock is `time.perf_counter`, the same for all processes of a machine.
    """

    backend: str = ""
    timeout_s: float = 0.0
    at_s: float = 0.0


@dataclass(frozen=True)
class Left:
    """What a rank says when it leaves its function without an error.

    Attributes:
        how: In words, such as "it returned from train".
        at_s: When, by `time.perf_counter`, or any clock that its reader shares.
    """

    how: str
    at_s: float


@dataclass(frozen=True)
class Report:
    """What a failing rank tells the process that started it.

    `summary` is what the rank raised, and where; for `sys.exit(3)` this call.
    """

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
    began: Mapping[int, Began],
    left: Mapping[int, Left],
    failed_at_s: float,
) -> NoReturn:
    """Raise the one failure that explains the others.

    Args:
        reports: What failing ranks reported. May be empty if one ended badly.
        ended: Rank -> exit code, of those that have ended.
        hanging: Ranks that are still running and have reported nothing.
        locations: Rank -> line that it executes, of the hanging ranks that answered.
        began: Rank -> its last word on that, of those that reached their function.
        left: Rank -> how it left, of those that did so without an error.
        failed_at_s: When the first failure was seen, by `time.perf_counter`.

    Raises:
        DistriNewsError: The first failure was one; it is raised again, once.
        BrokenPipeError: It was one: most likely nobody reads the output any more.
        RankFailedError: It was anything else. Names the rank and the line.
    """
    # WHY this order: a rank that dies takes the others' next collective with it, and
    # they report a closed connection. So: first a rank that died without a word, then
    # the earliest report. SIGABRT is less certain: nccl aborts ranks that are healthy.
    reported = {report.rank for report in reports}
    has_own_failure = any(not is_consequence(report) for report in reports)
    for rank, code in sorted(ended.items()):
        if code != 0 and rank not in reported:
            word = began.get(rank, Began())
            if code == -SIGABRT and word.backend == "nccl":
                if has_own_failure:
                    continue
                # WHY ask for the time: the watchdog also ends a rank at once, after a
                # CUDA error of its own. Before the timeout nobody can have waited.
                if failed_at_s - word.at_s >= word.timeout_s:
                    _raise_if_abandoned(rank, hanging, locations)
                    if left and not hanging:
                        problem = left_early(left, f"rank {rank} waited for it")
                        raise problem
            _raise_died(rank, code, has_begun=rank in began)
    _raise_if_left_early(reports, left, hanging)
    _raise_hang(reports, hanging, locations)
    first = min(reports, key=lambda report: report.failed_at_s)
    if first.error is not None:
        raise first.error
    if first.summary.startswith("BrokenPipeError"):
        # `... | head` has read enough. `console.run` ends a program quietly then.
        broken = BrokenPipeError(f"rank {first.rank} raised {first.summary}.")
        broken.add_note(first.traceback_text)
        raise broken
    verb = "called" if first.summary.startswith("sys.exit(") else "raised"
    failed = RankFailedError(
        f"rank {first.rank} {verb} {first.summary}.",
        why="the other ranks were stopped: they would have waited for it for ever.",
        fix=f"read the traceback of rank {first.rank} above; it failed first.",
        page="rank-failed",
    )
    failed.add_note(first.traceback_text)
    raise failed


def left_early(left: Mapping[int, Left], waiting: str) -> RankFailedError:
    """Make the error that blames the rank that left first, without an error of its own.

    Args:
        left: Rank -> how it left; at least one.
        waiting: Who waited for it, and where, in words.

    Returns:
        The error.

    Examples:
        >>> left = {1: Left("it returned from train", 0.0)}
        >>> left_early(left, "rank 0 waited").what
        'rank 1 left early and without an error: it returned from train. rank 0 waited.'
    """
    rank = min(left, key=lambda rank: left[rank].at_s)
    return RankFailedError(
        f"rank {rank} left early and without an error: {left[rank].how}. {waiting}.",
        why="a collective, and every backward of DDP is one, ends when every rank has "
        "called it. A rank with fewer batches than the others leaves them in theirs.",
        fix="give all ranks equally many steps (sharding.ShuffledBatchSampler, or "
        "drop_last=True), and let all decide together when to stop: "
        "stop = dist.broadcast_object(stop).",
        page="uneven-batches",
    )


def _raise_if_left_early(
    reports: Sequence[Report], left: Mapping[int, Left], hanging: Sequence[int]
) -> None:
    """If ranks failed only because another one had left, blame that one."""
    if not left or not all(is_consequence(report) for report in reports):
        return
    if hanging and _has_timed_out(reports):
        return  # they may have waited for those that are still somewhere else
    first = min(reports, key=lambda report: report.failed_at_s)
    waited = sorted(reports, key=_rank_of)
    places = "; ".join(f"rank {r.rank} waited for it {r.location}" for r in waited)
    failed = left_early(left, places)
    failed.add_note(first.traceback_text)
    raise failed


def _has_timed_out(reports: Sequence[Report]) -> bool:
    # gloo's own words, and those of the barrier that debugging puts before it.
    timeout_words = ("timed out", "monitoredbarrier")
    # WHY in any report: gloo closes the connection when it gives up, and the other end
    # may report that before the rank whose time was up (seen on a busy machine).
    return any(
        words in report.summary.lower() for report in reports for words in timeout_words
    )


def _raise_hang(
    reports: Sequence[Report], hanging: Sequence[int], locations: Mapping[int, str]
) -> None:
    """If ranks gave up waiting, say for whom they waited, and where that rank is."""
    first = min(reports, key=lambda report: report.failed_at_s)
    if not (is_consequence(first) and _has_timed_out(reports)):
        return  # somebody failed for another reason; that is the cause
    # WHY all of them: those who report a closed connection waited, too, until the first
    # one gave up and left.
    waiting = [report for report in reports if report.error is None]
    waiting_at = "; ".join(
        f"rank {r.rank} {r.location}" for r in sorted(waiting, key=_rank_of)
    )
    if hanging:
        message = (
            f"{_places(hanging, locations)}. It never reached the call that "
            f"the others were waiting in: {waiting_at}."
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


def _places(ranks: Sequence[int], locations: Mapping[int, str]) -> str:
    return "; ".join(
        f"rank {rank} is at {locations.get(rank, 'a halt: its process is frozen')}"
        for rank in ranks
    )


def _rank_of(report: Report) -> int:
    return report.rank


def is_consequence(report: Report) -> bool:
    """Say whether a rank failed because another one had left or did not come.

    Args:
        report: What it raised.

    Returns:
        True if its words are those of gloo or nccl about a lost peer.
    """
    summary = report.summary.lower()
    is_own = report.error is not None or summary.startswith("sys.exit(")
    return not is_own and any(words in summary for words in CONSEQUENCES)


def _raise_if_abandoned(
    aborted: int, hanging: Sequence[int], locations: Mapping[int, str]
) -> None:
    """If a rank was aborted because others never came, say where those are.

    Why: nccl's watchdog ends the rank that waits, by SIGABRT, and that rank is healthy.
    The one to look at is alive, says nothing, and waits for nobody. gloo has no such
    watchdog; there SIGABRT is a crash of the rank itself.

    Raises:
        RankFailedError: There is one; it is named.
    """
    elsewhere = [
        rank for rank in hanging if "waiting in" not in locations.get(rank, "")
    ]
    if not elsewhere:
        return  # those alive wait for the aborted one: it is the cause
    raise RankFailedError(
        f"{_places(elsewhere, locations)}. Alive and silent, while rank {aborted} was "
        "ended by SIGABRT.",
        why="nccl's watchdog ends a rank by SIGABRT when it has waited for the others "
        "until the timeout. The rank that did not come is the one to look at.",
        fix="let every rank call the same collectives in the same order; look at the "
        "lines named above, and in nccl's own lines for a CUDA error. If it only needs "
        "longer: setup(timeout_s=...).",
        page="rank-hung",
    )


def _raise_died(rank: int, code: int, *, has_begun: bool) -> NoReturn:
    words = _exit_code_in_words(code)
    if code > 0 and not has_begun:
        raise RankFailedError(
            f"rank {rank} ended with {words} before it reached its function.",
            why="a new process first imports the file that holds the function; that "
            "failed, or the file starts processes itself. The others were stopped.",
            fix='read the lines above; start below `if __name__ == "__main__":`.',
            page="rank-failed",
        )
    if code > 0 and code not in WINDOWS_EXIT_CODES:
        raise RankFailedError(
            f"rank {rank} ended with {words} and left no traceback.",
            why="something in its function ended the process: os._exit, or on Windows "
            "abort() in compiled code (3) or another program, such as the Task Manager "
            "(1). The other ranks were stopped.",
            fix="raise an error instead of leaving; read the lines above.",
            page="rank-failed",
        )
    meaning = SIGNAL_MEANINGS.get(words, "the operating system ended it.")
    raise RankFailedError(
        f"rank {rank} was killed by {words} and left no traceback.",
        why=f"{meaning} The other ranks were stopped.",
        fix="read the lines above. If memory may have run out: fewer ranks, a smaller "
        "batch (a chapter: --num-ranks 1, --global-batch-size), and close other "
        "programs.",
        page="rank-killed",
    )


def _exit_code_in_words(code: int) -> str:
    """A signal's name, the meaning of a Windows code, or "exit code N"."""
    # As `multiprocessing` gives it: minus the signal's number on POSIX; on Windows 32
    # bits without a sign, where a crash is a large number.
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"
    if code in WINDOWS_EXIT_CODES:
        return f"0x{code:08X} ({WINDOWS_EXIT_CODES[code]})"
    return f"exit code {code}"
