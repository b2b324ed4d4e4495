"""Proofs for dist.failures: of many reports, the one that explains the others."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from distrinews.dist.failures import (
    Began,
    Left,
    Report,
    _exit_code_in_words,
    raise_root_cause,
)
from distrinews.errors import DataError, RankFailedError

TIMED_OUT = "RuntimeError: Timed out waiting 5000ms for recv operation (agreement.py:9)"
SIGKILL = _exit_code_in_words(-9)  # "SIGKILL" where there is one
SIGABRT = _exit_code_in_words(-6)  # Windows gives it another number
CLOSED = "RuntimeError: Connection closed by peer [127.0.0.1]:4242 (agreement.py:9)"
BAD_ROW = "ValueError: bad row (data.py:3)"


def report(rank: int, failed_at_s: float, summary: str) -> Report:
    return Report(
        rank, failed_at_s, None, summary, f"(program.py:{rank})", f"trace {rank}"
    )


def cause(*reports: Report, hanging: tuple[int, ...] = (), **lines: str) -> str:
    ended = {each.rank: 1 for each in reports}
    return died(ended, *reports, hanging=hanging, **lines).what


def test_the_first_failure_counts() -> None:
    assert "rank 1 raised ValueError: bad row" in cause(
        report(0, 2.0, CLOSED), report(1, 1.0, BAD_ROW)
    )


def test_a_timeout_names_the_rank_that_did_not_come_and_where_it_is() -> None:
    what = cause(report(0, 1.0, TIMED_OUT), hanging=(1,), r1="(program.py:7 in sleep)")
    assert what.startswith("rank 1 is at (program.py:7 in sleep). It never reached")
    assert what.endswith("others were waiting in: rank 0 (program.py:0).")


def test_a_rank_that_noticed_anothers_timeout_waited_too() -> None:
    what = cause(report(1, 1.1, CLOSED), report(0, 1.0, TIMED_OUT))
    places = "rank 0 (program.py:0); rank 1 (program.py:1)"
    assert what == f"ranks waited for each other in different places: {places}."
    # Also if it reports first: gloo closes the connection before the error is raised.
    assert cause(report(1, 0.9, CLOSED), report(0, 1.0, TIMED_OUT)) == what
    # Negative control: nobody's time was up.
    assert cause(report(1, 0.9, CLOSED)).startswith("rank 1 raised RuntimeError")


def test_a_timeout_after_another_failure_is_not_the_cause() -> None:
    """Negative control: the bad row came first, the timeout is its consequence."""
    what = cause(report(0, 9.0, TIMED_OUT), report(1, 1.0, BAD_ROW), hanging=(2,))
    assert what.startswith("rank 1 raised ValueError: bad row")


def test_a_silent_death_comes_before_every_report() -> None:
    with pytest.raises(RankFailedError, match=f"rank 1 was killed by {SIGKILL}"):
        raise_root_cause(
            [report(0, 1.0, CLOSED)],
            {0: 1, 1: -9},
            hanging=(),
            locations={},
            began={},
            left={},
            failed_at_s=0.0,
        )


def test_an_error_with_a_cure_is_raised_as_it_is() -> None:
    error = DataError("no rows.", why="w", fix="f", page="bad-data")
    failure = Report(0, 1.0, error, "", "", "")
    with pytest.raises(DataError) as caught:
        raise_root_cause(
            [failure],
            {0: 2},
            hanging=(1,),
            locations={},
            began={},
            left={},
            failed_at_s=0.0,
        )
    assert caught.value is error


def test_a_closed_output_is_a_broken_pipe_for_the_program_to_judge() -> None:
    words = "OSError: [Errno 22] Invalid argument (program.py:1)"  # as on Windows
    failure = replace(report(0, 1.0, words), is_closed_pipe=True)
    with pytest.raises(BrokenPipeError, match="rank 0 raised OSError") as caught:
        raise_root_cause(
            [failure],
            {0: 1},
            hanging=(),
            locations={},
            began={},
            left={},
            failed_at_s=0.0,
        )
    assert caught.value.errno == errno.EPIPE  # by which `console.run` knows it
    # Negative control: an invalid argument of another kind.
    assert "raised OSError: [Errno 22]" in cause(report(0, 1.0, words))


# --- A rank that left without an error ----------------------------------------------

RETURNED = {1: Left("it returned from train", 5.0)}


def test_a_rank_that_left_before_the_others_is_blamed_and_not_those_it_left() -> None:
    error = died({0: 1, 1: 0}, report(0, 6.0, CLOSED), left=RETURNED)
    assert error.what == (
        "rank 1 left early and without an error: it returned from train. "
        "rank 0 waited for it (program.py:0)."
    )
    assert "trace 0" in error.__notes__[0]  # nothing of theirs is lost
    # nccl does not notice that a rank has left: the others wait until the timeout.
    timed_out = died({0: 1, 1: 0}, report(0, 600.0, TIMED_OUT), left=RETURNED)
    assert timed_out.what == error.what
    aborted = died({0: -6, 1: 0}, left=RETURNED)
    assert aborted.what.endswith("it returned from train. rank 0 waited for it.")


def test_of_two_ranks_that_left_the_first_is_blamed() -> None:
    left = RETURNED | {2: Left("it called sys.exit(0) (own.py:9 in train)", 4.0)}
    what = died({0: 1, 1: 0, 2: 0}, report(0, 6.0, CLOSED), left=left).what
    assert what.startswith("rank 2 left early and without an error: it called sys.exit")


def test_a_rank_that_had_finished_is_not_blamed_for_anothers_own_failure() -> None:
    """Negative controls: an error of its own, a death, a rank that hangs elsewhere."""
    own = died({0: 1, 1: 0}, report(0, 6.0, BAD_ROW), left=RETURNED)
    assert own.what.startswith("rank 0 raised ValueError: bad row")
    killed = died({0: 1, 1: 0, 2: -9}, report(0, 6.0, CLOSED), left=RETURNED)
    assert killed.what.startswith(f"rank 2 was killed by {SIGKILL}")
    elsewhere = {"hanging": (2,), "r2": "(program.py:7 in sleep)", "left": RETURNED}
    hung = died({0: 1, 1: 0}, report(0, 6.0, TIMED_OUT), **elsewhere)  # type: ignore[arg-type]
    assert hung.what.startswith("rank 2 is at (program.py:7 in sleep)")
    early = died({0: -6, 1: 0}, left=RETURNED, waited_s=9.0)  # a CUDA error of its own
    assert early.what.startswith(f"rank 0 was killed by {SIGABRT}")


def test_an_exit_is_named_by_its_call() -> None:
    exit_3 = report(1, 2.0, "sys.exit('no socket') (own.py:9 in train)")
    what = cause(report(0, 2.1, CLOSED), exit_3)
    assert what == "rank 1 called sys.exit('no socket') (own.py:9 in train)."


# --- A rank that ended without a report --------------------------------------------


def died(
    ended: dict[int, int],
    *reports: Report,
    hanging: tuple[int, ...] = (),
    began: tuple[int, ...] = (0, 1, 2),
    backend: str = "nccl",
    waited_s: float = 601.0,
    left: dict[int, Left] | None = None,
    **lines: str,
) -> RankFailedError:
    locations = {int(name[1:]): where for name, where in lines.items()}
    with pytest.raises(RankFailedError) as caught:
        raise_root_cause(
            reports,
            ended,
            hanging=hanging,
            locations=locations,
            began={rank: Began(backend, timeout_s=600, at_s=7.0) for rank in began},
            left=left or {},
            failed_at_s=7.0 + waited_s,
        )
    return caught.value


def test_a_rank_aborted_while_another_sleeps_is_not_blamed_but_the_sleeper() -> None:
    """What nccl's watchdog does to the healthy rank that waits."""
    error = died({0: -6}, hanging=(1,), r1="(program.py:7 in sleep)")
    assert error.what.startswith("rank 1 is at (program.py:7 in sleep). Alive, without")
    assert error.page == "rank-hung"
    frozen = died({0: -6}, hanging=(1,))
    assert frozen.what.startswith("rank 1 is at a halt: its process is frozen")


@pytest.mark.parametrize(
    "where",
    [
        "(a.py:3 in f), waiting in all_reduce",
        "(a.py:3 in f), computing or waiting in b",
    ],
)
def test_an_aborted_rank_is_blamed_where_the_others_wait_for_it(where: str) -> None:
    """Negative control: a size mismatch under gloo aborts the rank that is wrong."""
    error = died({0: -6}, hanging=(1,), r1=where)
    assert error.what == f"rank 0 was killed by {SIGABRT} and left no traceback."
    alone = died({0: -6, 1: 0})
    assert alone.what == error.what
    # gloo has no watchdog: whatever the others do, the aborted rank is the cause.
    early = died({0: -6}, hanging=(1,), waited_s=9.0, r1="(a.py:7 in item)")
    assert early.what == error.what  # before the timeout: a CUDA error of its own
    sleeping = died({0: -6}, hanging=(1,), backend="gloo", r1="(a.py:7 in sleep)")
    assert sleeping.what == error.what


def test_an_abort_after_another_ranks_own_error_is_its_consequence() -> None:
    assert "ValueError: bad row" in died({0: -6, 1: 1}, report(1, 1.0, BAD_ROW)).what
    # Negative control: a report that only says "the other one has left" explains
    # nothing, and an abort is then the cause.
    assert SIGABRT in died({0: -6, 1: 1}, report(1, 1.0, CLOSED)).what


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0xC0000005, "killed by 0xC0000005 (access violation: a crash in compiled"),
        (0xC0000409, "killed by 0xC0000409 (fail fast"),
        (0xC000013A, "killed by 0xC000013A (Ctrl-C)"),
        (1, "ended with exit code 1 and left no traceback"),
        (-11, "killed by SIGSEGV"),
        (-99, "killed by signal 99"),
    ],
)
def test_an_exit_code_is_said_in_words_on_any_system(code: int, words: str) -> None:
    assert words in died({0: 0, 1: code}).what


def test_only_a_rank_that_did_not_begin_ended_before_its_function() -> None:
    before = "rank 1 ended with exit code 1 before it reached its function."
    assert died({1: 1}, began=(0,)).what == before
    dll = died({1: 0xC0000135}, began=(0,)).what
    assert "0xC0000135 (a DLL was not found) before it reached its function" in dll
    # Negative control: it had begun; and a signal is a signal, begun or not.
    assert "before it reached" not in died({1: 1}, began=(0, 1)).what
    assert died({1: -9}, began=()).what.startswith(f"rank 1 was killed by {SIGKILL}")


def test_a_small_number_is_no_windows_code() -> None:
    assert _exit_code_in_words(5) == "exit code 5"
