"""The check of my_rows."""

from __future__ import annotations

from distrinews.course import exercises

NUM_ROWS = 30


def check(harness: exercises.Harness) -> None:
    orders = []
    for epoch in (0, 1, 2):
        local_rows, trace = harness.run(NUM_ROWS, 7, epoch)
        harness.at_most(
            "collectives", trace.calls(), limit=0, why="No rank needs to ask."
        )
        rows_by_rank = harness.gather_objects(list(local_rows))
        read = sorted(row for rows in rows_by_rank for row in rows)
        twice = len(read) - len(set(read))
        harness.reject_if(
            twice > 0,
            f"{twice} rows are read by two ranks in epoch {epoch}: the ranks' orders "
            "are not parts of one permutation.",
        )
        harness.reject_if(
            read != list(range(NUM_ROWS)),
            f"only {len(read)} of {NUM_ROWS} rows are read in epoch {epoch}.",
        )
        harness.reject_if(
            len({len(rows) for rows in rows_by_rank}) > 1,
            "the ranks have different numbers of rows: one waits in vain.",
        )
        orders.append([row for rows in rows_by_rank for row in rows])
    harness.reject_if(
        orders[0] == orders[1] or orders[1] == orders[2],
        "two epochs have the same order: that is what a forgotten set_epoch does.",
    )
    ascending = all(order == sorted(order) for order in orders)
    harness.reject_if(
        ascending or all(set(o[:10]) == set(orders[0][:10]) for o in orders),
        "a rank gets the same rows in every epoch: shuffle all rows, then deal them.",
    )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
