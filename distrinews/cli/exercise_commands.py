"""The command `python -m distrinews exercise`: list, start, hint, check, solution.

Real processes judge a solution, and the picture shows what it really did. Progress is
saved in a file next to the learner's files.

Not here: running a check (`distrinews.course.exercises`), reading the exercises'
headers (`distrinews.course.sheets`). This module does not load torch.

Guide: learn/exercises.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import re
import shutil
import tempfile
from typing import Any

from distrinews.course import lab_process
from distrinews.course.lab_process import ERROR_PREFIXES, Finished
from distrinews.course.sheets import ExerciseSheet, exercise_names
from distrinews.errors import ExerciseError, RejectedError, ResultError
from distrinews.system import files
from distrinews.tracing import render, timeline

__all__ = ["Progress", "run"]

LIMIT_S = 60.0  # a check that takes longer is killed
FOLDER = pathlib.Path("my_exercises")  # for the learner's files
# How a hang's message names a rank that waits in the check.
WAITS_IN_CHECK = re.compile(r"(rank \d+) is at \(\w+\.py:\d+ in check\)")


class Progress:
    """Which exercises were passed, and how many hints were read.

    Args:
        folder: Of the learner's files.

    Examples:
        >>> Progress(pathlib.Path("no_such_folder")).passed("tell_the_others")
        False
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / "progress.json"
        self._exercises: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            self._exercises = files.read_json(self.path)

    def passed(self, name: str) -> bool:
        """Say whether an exercise was passed.

        Args:
            name: Of the exercise.

        Returns:
            Whether a check of it has ever passed.
        """
        return "passed" in self._exercises.get(name, {})

    def hints(self, name: str) -> int:
        """Count the hints that were read.

        Args:
            name: Of the exercise.

        Returns:
            0 to 3.
        """
        return int(self._exercises.get(name, {}).get("hints", 0))

    def note(self, name: str, **facts: Any) -> None:
        """Save facts about an exercise.

        Args:
            name: Of the exercise.
            **facts: `passed`, a date; `hints`, how many.

        Raises:
            OSError: It could not be written; raised as the OutputError that names the
                cure.
        """
        self._exercises.setdefault(name, {}).update(facts)
        files.write_json(self.path, self._exercises)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: `act` and its arguments: `name`, `file`.

    Returns:
        The exit code.

    Raises:
        ExerciseError: No such exercise or file, or no checkout.
    """
    progress = Progress(FOLDER)
    if args.act == "list":
        return _list(progress)
    if args.act == "run-check":
        return _run_check(args)
    sheet = ExerciseSheet.read(args.name)
    if args.act == "start":
        return _start(sheet)
    if args.act == "hint":
        return _hint(sheet, progress)
    if args.act == "solution":
        return _show_solution(sheet, progress)
    return _check(sheet, file=args.file, progress=progress)


def _run_check(args: argparse.Namespace) -> int:
    """Run a check; put the exercise's name into the hint's command."""
    from distrinews.course import exercises

    try:
        exercises.run_check(args.check, args.solution, args.folder)
    except RejectedError as error:
        error.args = (str(error).replace("NAME", pathlib.Path(args.check).stem),)
        raise
    return 0


def _list(progress: Progress) -> int:
    """Print one line per exercise, and the progress."""
    sheets = [ExerciseSheet.read(name) for name in exercise_names()]
    width = max(len(sheet.name) for sheet in sheets)
    for sheet in sheets:
        mark = "passed" if progress.passed(sheet.name) else "open"
        level = sheet.fields["Level"]
        print(f"{sheet.name:{width}}  {mark:6}  {level:8}  {sheet.title}")
    done = sum(progress.passed(sheet.name) for sheet in sheets)
    bar = "#" * round(20 * done / len(sheets))
    print(f"\n{done} of {len(sheets)} passed  [{bar:20}]")
    first = next((s.name for s in sheets if not progress.passed(s.name)), None)
    if first is not None:
        print(f"Next: python -m distrinews exercise start {first}")
    return 0


def _start(sheet: ExerciseSheet) -> int:
    """Copy the task into the learner's folder, without overwriting a file."""
    target = FOLDER / sheet.path.name
    if target.exists():
        print(f"{target.as_posix()} already exists; nothing was changed.")
    else:
        with files.translate_write_errors(target):
            FOLDER.mkdir(exist_ok=True)
            shutil.copyfile(sheet.path, target)
    print(f"{sheet.title}\n\nTask      {sheet.fields['Task']}")
    print(f"Target    {sheet.fields['Target']}\n")
    print(f"Edit `solve` in {target.as_posix()}, then\n")
    print(f"    python -m distrinews exercise check {sheet.name}")
    return 0


def _hint(sheet: ExerciseSheet, progress: Progress) -> int:
    """Print the hints up to the next one."""
    number = min(progress.hints(sheet.name) + 1, len(sheet.hints))
    for i in range(number):
        print(f"Hint {i + 1}    {sheet.hints[i]}")
    progress.note(sheet.name, hints=number)
    if number < len(sheet.hints):
        print(f"\nNext hint: python -m distrinews exercise hint {sheet.name}")
    else:
        print(f"\nOur solution: python -m distrinews exercise solution {sheet.name}")
    return 0


def _show_solution(sheet: ExerciseSheet, progress: Progress) -> int:
    """Print our solution."""
    if not progress.passed(sheet.name):
        print("You have not passed this exercise yet. Our solution:\n")
    print(sheet.solution.read_text(encoding="utf-8"))
    print(f"Concept   {sheet.fields['Concept']}")
    return 0


def _check(sheet: ExerciseSheet, *, file: str | None, progress: Progress) -> int:
    """Judge a solution, draw what it did, and save that it passed; 0 if it did."""
    path = FOLDER / sheet.path.name if file is None else pathlib.Path(file)
    if not path.is_file():
        raise ExerciseError(
            f"{path} is not a file.",
            why="there is nothing to check.",
            fix=f"python -m distrinews exercise start {sheet.name}",
            page="exercises",
        )
    picture = FOLDER / f"{path.stem}.html"
    result = _grade(sheet, path.resolve(), picture=picture)
    if picture.is_file():
        print(f"\npicture: {picture.as_posix()}: what each rank did, and when")
    if result.is_right:
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        progress.note(sheet.name, passed=today)
        print(f"\npassed: {sheet.name}, {result.took_s:.0f} s")
        print(f"Compare: python -m distrinews exercise solution {sheet.name}")
        return 0
    print(f"\nrejected: {_reason(result)}")
    print(f"Stuck? python -m distrinews exercise hint {sheet.name}")
    return 1


def _grade(
    sheet: ExerciseSheet,
    path: pathlib.Path,
    *,
    picture: pathlib.Path | None = None,
    echo: bool = True,
) -> Finished:
    """Check a solution in new processes; draw the last call of `solve`."""
    with tempfile.TemporaryDirectory(
        prefix="distrinews-exercise-", ignore_cleanup_errors=True
    ) as folder:
        result = lab_process.run(
            ("-m", "distrinews", "exercise", "run-check")
            + (str(sheet.check), str(path), folder),
            echo=echo,
            limit_s=LIMIT_S,
        )
        if picture is not None:
            _draw(pathlib.Path(folder) / "records", picture, title=sheet.title)
    return result


def _draw(records: pathlib.Path, picture: pathlib.Path, *, title: str) -> None:
    """Draw the last call of `solve` that every rank started."""
    runs = sorted(records.glob("*")) if records.is_dir() else []
    if not runs:
        return
    try:
        events = timeline.read(runs[-1])
    except ResultError:  # killed before it began
        return
    verdict = timeline.diagnose(events, world_size=max(events, default=0) + 1)
    render.write_html(events, picture, title=title, verdict=verdict)


def _reason(result: Finished) -> str:
    """The check's message, or the last line of the output."""
    line = result.reason
    if not line.startswith(ERROR_PREFIXES):
        return line
    # A rank that waits for the others in the check has left the solution.
    return WAITS_IN_CHECK.sub(r"\1 had already left `solve`", line.partition(": ")[2])
