"""The check of my_rows."""

from __future__ import annotations

from distrinews.course import exercises

NUM_ROWS = 30


def check(stage: exercises.Stage) -> None:
    orders = []
    for epoch in (0, 1, 2):
        mine, seen = stage.run(NUM_ROWS, 7, epoch)
        stage.at_most("collectives", seen.calls(), limit=0, why="Nobody needs to ask.")
        everyone = stage.together(list(mine))
        read = sorted(row for rows in everyone for row in rows)
        twice = len(read) - len(set(read))
        stage.reject_if(
            twice > 0,
            f"{twice} rows are read by two ranks in epoch {epoch}: the ranks' orders "
            "are not parts of one permutation.",
        )
        stage.reject_if(
            read != list(range(NUM_ROWS)),
            f"only {len(read)} of {NUM_ROWS} rows are read in epoch {epoch}.",
        )
        stage.reject_if(
            len({len(rows) for rows in everyone}) > 1,
            "the ranks have unequal numbers of rows: the longest waits in vain.",
        )
        orders.append([row for rows in everyone for row in rows])
    stage.reject_if(
        orders[0] == orders[1] or orders[1] == orders[2],
        "two epochs have the same order: that is what a forgotten set_epoch does.",
    )
    ascending = all(order == sorted(order) for order in orders)
    stage.reject_if(
        ascending or all(set(o[:10]) == set(orders[0][:10]) for o in orders),
        "a rank gets the same rows in every epoch: shuffle all rows, then deal them.",
    )


EXERCISE = exercises.Exercise(check=check, num_ranks=3)
