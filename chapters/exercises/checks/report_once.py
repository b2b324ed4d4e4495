"""The check of report_once."""

from __future__ import annotations

from distrinews.course import exercises


def check(stage: exercises.Stage) -> None:
    for factor in (1, 100):
        mine = factor * (3 + 4 * stage.ranks.rank)  # 3 and 7, then 300 and 700
        got, _ = stage.run(mine)
        told = f"{10 * factor} rows" if stage.ranks.is_main else None
        stage.reject_if(
            got is not None and not stage.ranks.is_main,
            "a rank other than 0 reports, too: with 8 ranks the line appears 8 times.",
        )
        stage.expect("what is reported", got, want=told)


EXERCISE = exercises.Exercise(check=check)
