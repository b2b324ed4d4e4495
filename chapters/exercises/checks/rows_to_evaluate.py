"""The check of rows_to_evaluate."""

from __future__ import annotations

from distrinews.course import exercises


def check(harness: exercises.Harness) -> None:
    for num_rows in (10, 11, 12, 2):
        local_rows, trace = harness.run(num_rows)
        harness.at_most(
            "collectives", trace.calls(), limit=0, why="No rank needs to ask."
        )
        rows_by_rank = harness.gather_objects(list(local_rows))
        read = sorted(row for rows in rows_by_rank for row in rows)
        harness.reject_if(
            len(read) > len(set(read)),
            f"of {num_rows} rows, {len(read) - len(set(read))} are counted twice: "
            "padding makes an accuracy that depends on the number of ranks.",
        )
        lost = sorted(set(range(num_rows)) - set(read))
        harness.reject_if(
            bool(lost), f"of {num_rows} rows, {lost} are never evaluated."
        )
        sizes = [len(rows) for rows in rows_by_rank]
        harness.reject_if(
            max(sizes) - min(sizes) > 1,
            f"the ranks get {sizes} rows: the others wait for the longest.",
        )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
