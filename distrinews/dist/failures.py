"""Find the failure that explains the others: one error out of many reports.

When several ranks fail, the reader sees one cause: the rank that died without a report,
that failed first, or that the others waited for until the timeout.

Not here: collecting the reports (`distrinews.dist.spawn`).

Guide: understand/failures.
"""

from __future__ import annotations

import contextlib
import errno
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
# Exit codes of processes on Windows, and what they mean. Source: Microsoft's
# [MS-ERREF], "NTSTATUS Values".
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
# Words with which gloo and nccl report that another rank is gone or missing.
CONSEQUENCES = (
    *("connection closed", "connection reset", "connection refused", "broken pipe"),
    *("connection was likely closed", "pair closure", "timed out", "timeout", "socket"),
    *("monitoredbarrier", "nccl", "distbackenderror", "distnetworkerror"),
)
# What the most frequent signals mean for a rank.
SIGNAL_MEANINGS = {
    "SIGKILL": "SIGKILL most often means that the machine ran out of memory.",
    "SIGABRT": "compiled code gave up; its last lines are above: a collective whose "
    "sizes differ, nccl's watchdog after a timeout, or a CUDA error that it found.",
    "SIGSEGV": "SIGSEGV is a crash in compiled code.",
    "SIGBUS": "SIGBUS most often means that shared memory (/dev/shm) is full.",
    "SIGTERM": "another program asked it to end.",
}


@dataclass(frozen=True)
class Began:
    """What a rank sends the launcher once it has reached its function.

    It sends this again after joining a process group, with the group's backend and
    timeout. The clock is `time.perf_counter`, the same for all processes of a machine.
    """

    backend: str = ""
    timeout_s: float = 0.0
    at_s: float = 0.0


@dataclass(frozen=True)
class Left:
    """What a rank sends when it leaves its function without an error.

    Attributes:
        how: In words, such as "it returned from train".
        at_s: When, by `time.perf_counter` or another clock that sender and reader
            share.
    """

    how: str
    at_s: float


@dataclass(frozen=True)
class Report:
    """What a failing rank sends the launcher.

    `summary` says what the rank raised, and where; for `sys.exit(3)`, that call.
    `is_closed_pipe`: it wrote into a pipe that nobody reads.
    """

    rank: int
    failed_at_s: float
    error: DistriNewsError | None
    summary: str
    location: str
    traceback_text: str
    is_closed_pipe: bool = False


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
        reports: Reports of failing ranks. May be empty if a rank ended badly.
        ended: Rank -> exit code, of the ranks that have ended.
        hanging: Ranks that are still running and have reported nothing.
        locations: Rank -> line that it is executing, of the hanging ranks that
            answered.
        began: Rank -> its last `Began`, of the ranks that reached their function.
        left: Rank -> how it left, of the ranks that left without an error.
        failed_at_s: When the first failure was seen, by `time.perf_counter`.

    Raises:
        DistriNewsError: The first failure was one; it is raised again, once.
        BrokenPipeError: It was one: most likely the output is no longer read.
        RankFailedError: It was anything else. Names the rank and the line.
    """
    # WHY this order: when a rank dies, the others' next collective fails, and they
    # report a closed connection. So look first for a rank that died without a report,
    # then for the earliest report. SIGABRT is less certain: nccl also aborts healthy
    # ranks.
    reported = {report.rank for report in reports}
    has_own_failure = any(not is_consequence(report) for report in reports)
    for rank, code in sorted(ended.items()):
        if code != 0 and rank not in reported:
            word = began.get(rank, Began())
            if code == -SIGABRT and word.backend == "nccl":
                if has_own_failure:
                    continue
                # Check the time, because the watchdog also ends a rank at once after a
                # CUDA error. Before the timeout it cannot have waited for another rank.
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
    if first.is_closed_pipe:
        # `... | head` has read enough; `console.run` then ends the program quietly.
        broken = BrokenPipeError(
            errno.EPIPE, f"rank {first.rank} raised {first.summary}"
        )
        broken.add_note(first.traceback_text)
        raise broken
    verb = "called" if first.summary.startswith("sys.exit(") else "raised"
    failed = RankFailedError(
        f"rank {first.rank} {verb} {first.summary}.",
        why="the other ranks were stopped: they would have waited for it forever.",
        fix=f"read the traceback of rank {first.rank}, printed with this message; it "
        "failed first.",
        page="rank-failed",
    )
    failed.add_note(first.traceback_text)
    raise failed


def left_early(left: Mapping[int, Left], waiting: str) -> RankFailedError:
    """Make the error that blames the rank that left first, without an error.

    Args:
        left: Rank -> how it left; at least one.
        waiting: Which ranks waited for it, and where, in words.

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
        why="a collective ends only when every rank has called it, and every backward "
        "of DDP is one. The others wait for a rank that has fewer batches.",
        fix="give all ranks the same number of steps (sharding.ShuffledBatchSampler, "
        "or drop_last=True), and let all decide together when to stop: "
        "stop = dist.broadcast_object(stop).",
        page="uneven-batches",
    )


def _raise_if_left_early(
    reports: Sequence[Report], left: Mapping[int, Left], hanging: Sequence[int]
) -> None:
    """If ranks failed only because another rank had left, blame that rank."""
    if not left or not all(is_consequence(report) for report in reports):
        return
    if hanging and _has_timed_out(reports):
        return  # they may have waited for the ranks that still run
    first = min(reports, key=lambda report: report.failed_at_s)
    waited = sorted(reports, key=_rank_of)
    places = "; ".join(f"rank {r.rank} waited for it {r.location}" for r in waited)
    failed = left_early(left, places)
    failed.add_note(first.traceback_text)
    raise failed


def _has_timed_out(reports: Sequence[Report]) -> bool:
    # gloo's words, and those of the barrier that the debug level adds.
    timeout_words = ("timed out", "monitoredbarrier")
    # In any report, because gloo closes the connection at the timeout, and the other
    # end may report that before the rank that timed out (seen on a busy machine).
    return any(
        words in report.summary.lower() for report in reports for words in timeout_words
    )


def _raise_hang(
    reports: Sequence[Report], hanging: Sequence[int], locations: Mapping[int, str]
) -> None:
    """If ranks timed out, name the rank that they waited for, and its line."""
    first = min(reports, key=lambda report: report.failed_at_s)
    if not (is_consequence(first) and _has_timed_out(reports)):
        return  # another rank failed first; that is the cause
    # All of them: the ranks that report a closed connection also waited, until the
    # first one timed out and left.
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
        "line named first. If it only needs more time: setup(timeout_s=...).",
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
    """Return whether a rank failed because another one had left or never came.

    Args:
        report: What it raised.

    Returns:
        True if its message is gloo's or nccl's about a lost peer.
    """
    summary = report.summary.lower()
    is_own = report.error is not None or summary.startswith("sys.exit(")
    return not is_own and any(words in summary for words in CONSEQUENCES)


def _raise_if_abandoned(
    aborted: int, hanging: Sequence[int], locations: Mapping[int, str]
) -> None:
    """If a rank was aborted because others never came, name their lines.

    Why: nccl's watchdog ends the rank that waits, by SIGABRT, although that rank is
    healthy. The faulty rank is alive, reports nothing and waits for no other rank. gloo
    has no such watchdog; there SIGABRT is a crash of the rank itself.

    Raises:
        RankFailedError: There is such a rank; the error names it.
    """
    elsewhere = [
        rank for rank in hanging if "waiting in" not in locations.get(rank, "")
    ]
    if not elsewhere:
        return  # the others wait for the aborted rank: it is the cause
    raise RankFailedError(
        f"{_places(elsewhere, locations)}. Alive, without a report, while rank "
        f"{aborted} was ended by SIGABRT.",
        why="nccl's watchdog ends a rank by SIGABRT when it has waited for the others "
        "until the timeout. Look at the rank that did not come.",
        fix="let every rank call the same collectives in the same order; look at the "
        "lines named above, and in nccl's own lines for a CUDA error. If it only needs "
        "more time: setup(timeout_s=...).",
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
    # `multiprocessing` gives minus the signal's number on POSIX; on Windows it gives 32
    # unsigned bits, so a crash is a large number.
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"
    if code in WINDOWS_EXIT_CODES:
        return f"0x{code:08X} ({WINDOWS_EXIT_CODES[code]})"
    return f"exit code {code}"
