"""The check of report_once."""

from __future__ import annotations

from distrinews.course import exercises


def check(harness: exercises.Harness) -> None:
    for factor in (1, 100):
        num_rows = factor * (3 + 4 * harness.ranks.rank)  # 3 and 7, then 300 and 700
        got, _ = harness.run(num_rows)
        want = f"{10 * factor} rows" if harness.ranks.is_main else None
        harness.reject_if(
            got is not None and not harness.ranks.is_main,
            "a rank other than 0 reports, too: with 8 ranks the line appears 8 times.",
        )
        harness.expect("what is reported", got, want=want)


EXERCISE = exercises.Exercise(check=check)
