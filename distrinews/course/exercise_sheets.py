"""What the exercises' files say about themselves, read without running them.

Not here: playing (`distrinews.course.exercises`), showing and grading
(`distrinews.cli.exercise_commands`). No torch is loaded here.

Guide: learn/exercises.
"""

from __future__ import annotations

import ast
import pathlib
from dataclasses import dataclass

from distrinews.course.lab_sheets import did_you_mean, labelled_lines
from distrinews.errors import ExerciseError
from distrinews.system import checkout

__all__ = ["EXERCISES", "Sheet", "names", "wrong_solutions"]

FIELDS = ("Task", "Target", "Hint 1", "Hint 2", "Hint 3", "Concept", "Level", "Takes")
EXERCISES = checkout.ROOT / "chapters" / "exercises"


@dataclass(frozen=True)
class Sheet:
    """What an exercise's file says about itself.

    Attributes:
        name: The file's name without its ending.
        path: The task: a file with a `solve` to be written.
        title: First line of its docstring.
        fields: Each of `FIELDS` -> its text, on one line.
    """

    name: str
    path: pathlib.Path
    title: str
    fields: dict[str, str]

    @property
    def check(self) -> pathlib.Path:
        """The file that judges."""
        return EXERCISES / "checks" / self.path.name

    @property
    def solution(self) -> pathlib.Path:
        """Ours."""
        return EXERCISES / "solutions" / self.path.name

    @property
    def hints(self) -> list[str]:
        """From a push to nearly the answer."""
        return [self.fields[f"Hint {number}"] for number in (1, 2, 3)]

    @classmethod
    def read(cls, name: str) -> Sheet:
        """Read an exercise's file, without running it.

        Args:
            name: As `names` gives it.

        Returns:
            Its sheet.

        Raises:
            ExerciseError: There is no such exercise, or its header lacks a field.
        """
        known = names()
        if name not in known:
            raise ExerciseError(
                f"there is no exercise {name!r}.{did_you_mean(name, known)}",
                why="an exercise's name is that of its file in chapters/exercises.",
                fix="python -m distrinews exercise list",
                page="exercises",
            )
        path = EXERCISES / f"{name}.py"
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        title, fields = labelled_lines(about)
        missing = [label for label in FIELDS if not fields.get(label)]
        if missing:
            raise ExerciseError(
                f"{path.name} lacks {missing}.",
                why="the exercise could not say what it asks.",
                fix="compare its header with that of another exercise.",
                page="exercises",
            )
        return cls(name, path, title, fields)


def names() -> list[str]:
    """List the exercises, the easy ones first.

    Returns:
        Their names, in the order of `chapters/exercises/order.txt`.

    Raises:
        ExerciseError: This is no checkout of the repository.
    """
    order = EXERCISES / "order.txt"
    if not order.is_file():
        raise ExerciseError(
            "the exercises are not here.",
            why="they are files to edit, and come with the repository, not with the "
            "installed package.",
            fix="clone the repository, then in it: pip install -e . and "
            "python -m distrinews exercise list",
            page="exercises",
        )
    return order.read_text(encoding="utf-8").split()


def wrong_solutions(name: str) -> dict[pathlib.Path, str]:
    """Find the typical wrong solutions of an exercise. For its proof.

    Args:
        name: Of the exercise.

    Returns:
        File -> regular expression that the reason for its rejection must match: the
        field `Rejected` of its docstring.
    """
    found = {}
    for path in sorted((EXERCISES / "wrong").glob(f"{name}__*.py")):
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        found[path] = labelled_lines(about)[1]["Rejected"]
    return found
