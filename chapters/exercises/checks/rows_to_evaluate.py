"""The check of rows_to_evaluate."""

from __future__ import annotations

from distrinews.course import exercises


def check(stage: exercises.Stage) -> None:
    for num_rows in (10, 11, 12, 2):
        mine, seen = stage.run(num_rows)
        stage.at_most("collectives", seen.calls(), limit=0, why="Nobody needs to ask.")
        everyone = stage.together(list(mine))
        read = sorted(row for rows in everyone for row in rows)
        stage.reject_if(
            len(read) > len(set(read)),
            f"of {num_rows} rows, {len(read) - len(set(read))} are counted twice: "
            "padding makes an accuracy that depends on the number of ranks.",
        )
        lost = sorted(set(range(num_rows)) - set(read))
        stage.reject_if(bool(lost), f"of {num_rows} rows, {lost} are never looked at.")
        sizes = [len(rows) for rows in everyone]
        stage.reject_if(
            max(sizes) - min(sizes) > 1,
            f"the ranks get {sizes} rows: the others wait for the longest.",
        )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
