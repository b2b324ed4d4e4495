"""Several solutions of one exercise in the same processes: starting them costs most."""

from __future__ import annotations

import pathlib

from distrinews import dist
from distrinews.course import exercises
from distrinews.dist import process_group
from distrinews.errors import DistriNewsError


def check_all(
    ranks: dist.Ranks, check: str, solutions: list[str], folder: pathlib.Path
) -> None:
    """Write what the check says of each solution; empty: nothing is wrong with it.

    Only for solutions that every rank leaves: one that hangs takes the others along.
    """
    exercise = exercises._load_exercise(check)
    process_group.set_timeout(exercise.timeout_s)
    for number, path in enumerate(solutions):
        own_folder = folder / str(number)
        own_folder.mkdir(exist_ok=True)
        reason = ""
        try:
            solution = exercises._load_solution(path)
            exercise.check(exercises.Harness(ranks, solution, own_folder))
        except DistriNewsError as error:  # the same on every rank
            reason = error.what
        if ranks.is_main:
            (folder / f"{number}.txt").write_text(reason, encoding="utf-8")
