"""Proofs for dist.failures: of many reports, the one that explains the others."""

from __future__ import annotations

import pytest

from distrinews.dist.failures import Report, raise_root_cause
from distrinews.errors import DataError, RankFailedError

TIMED_OUT = "RuntimeError: Timed out waiting 5000ms for recv operation (agreement.py:9)"
CLOSED = "RuntimeError: Connection closed by peer [127.0.0.1]:4242 (agreement.py:9)"
BAD_ROW = "ValueError: bad row (data.py:3)"


def report(rank: int, failed_at_s: float, summary: str) -> Report:
    return Report(
        rank, failed_at_s, None, summary, f"(program.py:{rank})", f"trace {rank}"
    )


def cause(*reports: Report, hanging: tuple[int, ...] = (), **lines: str) -> str:
    ended = {each.rank: 1 for each in reports}
    locations = {int(name[1:]): where for name, where in lines.items()}
    with pytest.raises(RankFailedError) as caught:
        raise_root_cause(reports, ended, hanging=hanging, locations=locations)
    return caught.value.what


def test_the_first_failure_counts() -> None:
    assert "rank 1 raised ValueError: bad row" in cause(
        report(0, 2.0, CLOSED), report(1, 1.0, BAD_ROW)
    )


def test_a_timeout_names_the_rank_that_did_not_come_and_where_it_is() -> None:
    what = cause(report(0, 1.0, TIMED_OUT), hanging=(1,), r1="(program.py:7 in sleep)")
    assert what.startswith("rank 1 is at (program.py:7 in sleep). It did not come")
    assert what.endswith("others waited for it: rank 0 (program.py:0).")


def test_a_rank_that_noticed_anothers_timeout_waited_too() -> None:
    what = cause(report(1, 1.1, CLOSED), report(0, 1.0, TIMED_OUT))
    places = "rank 0 (program.py:0); rank 1 (program.py:1)"
    assert what == f"ranks waited for each other in different places: {places}."


def test_a_timeout_after_another_failure_is_not_the_cause() -> None:
    """Negative control: the bad row came first, the timeout is its consequence."""
    what = cause(report(0, 9.0, TIMED_OUT), report(1, 1.0, BAD_ROW), hanging=(2,))
    assert what.startswith("rank 1 raised ValueError: bad row")


def test_a_silent_death_comes_before_every_report() -> None:
    with pytest.raises(RankFailedError, match="rank 1 was killed by SIGKILL"):
        raise_root_cause(
            [report(0, 1.0, CLOSED)], {0: 1, 1: -9}, hanging=(), locations={}
        )


def test_an_error_with_a_cure_is_raised_as_it_is() -> None:
    error = DataError("no rows.", why="w", fix="f", page="bad-data")
    failure = Report(0, 1.0, error, "", "", "")
    with pytest.raises(DataError) as caught:
        raise_root_cause([failure], {0: 2}, hanging=(1,), locations={})
    assert caught.value is error


def test_a_closed_output_is_a_broken_pipe_for_the_program_to_judge() -> None:
    failure = report(0, 1.0, "BrokenPipeError: [Errno 32] Broken pipe (program.py:1)")
    with pytest.raises(BrokenPipeError):
        raise_root_cause([failure], {0: 1}, hanging=(), locations={})
