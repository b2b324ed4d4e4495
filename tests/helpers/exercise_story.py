"""Several solutions of one exercise in the same processes: starting them costs most."""

from __future__ import annotations

import pathlib

from distrinews import dist
from distrinews.course import exercises
from distrinews.errors import DistriNewsError


def judge_all(
    ranks: dist.Ranks, check: str, solutions: list[str], folder: pathlib.Path
) -> None:
    """Write what the check says of each solution; empty: nothing is wrong with it.

    Only for solutions that every rank leaves: one that hangs takes the others along.
    """
    exercise = exercises._prepare(check, ranks)
    for number, path in enumerate(solutions):
        own = folder / str(number)
        own.mkdir(exist_ok=True)
        told = ""
        try:
            stage = exercises.Stage(ranks, exercises._solution(path), own)
            exercise.check(stage)
        except DistriNewsError as error:  # the same on every rank
            told = error.what
        if ranks.is_main:
            (folder / f"{number}.txt").write_text(told, encoding="utf-8")
