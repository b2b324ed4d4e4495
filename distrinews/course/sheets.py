"""Read the headers of labs and exercises without running the files.

Not here: running them (`distrinews.course.labs`, `distrinews.course.exercises`),
showing and checking them (`distrinews.cli`). No torch is loaded here.

Guide: learn/labs.
"""

from __future__ import annotations

import ast
import difflib
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from distrinews.errors import DistriNewsError, ExerciseError, LabError
from distrinews.system import checkout

__all__ = [
    "EXERCISES",
    "EXERCISE_FIELDS",
    "LABS",
    "LAB_FIELDS",
    "ExerciseSheet",
    "LabSheet",
    "difference",
    "exercise_names",
    "lab_names",
    "labelled_lines",
    "wrong_solutions",
]

LAB_FIELDS = (
    "Symptom",
    "Cause",
    "Fix",
    "Detector",
    "Look at",
    "Question",
    "Source",
    "Concept",
    "Silent",
    "Takes",
)
LABS = checkout.ROOT / "chapters" / "labs"
EXERCISE_FIELDS = (
    "Task",
    "Target",
    "Hint 1",
    "Hint 2",
    "Hint 3",
    "Concept",
    "Level",
    "Takes",
)
EXERCISES = checkout.ROOT / "chapters" / "exercises"
ERRORS: dict[str, type[DistriNewsError]] = {"lab": LabError, "exercise": ExerciseError}


@dataclass(frozen=True)
class LabSheet:
    """The header of a lab's file.

    Attributes:
        name: The file's name without its ending.
        path: The file.
        title: First line of its docstring.
        fields: Each of `LAB_FIELDS` -> its text, on one line.
        symptom: Regular expression that finds the symptom in the output.
        needs_torchrun: Whether it starts torchrun, which Windows' wheels cannot do.
    """

    name: str
    path: pathlib.Path
    title: str
    fields: dict[str, str]
    symptom: str
    needs_torchrun: bool

    @property
    def is_silent(self) -> bool:
        """Whether nothing raises: only the detector finds it."""
        return self.fields["Silent"] == "yes"

    @classmethod
    def read(cls, name: str) -> LabSheet:
        """Read a lab's file, without running it.

        Args:
            name: As `lab_names` returns it.

        Returns:
            Its sheet.

        Raises:
            LabError: There is no such lab, or its header lacks a field.
        """
        if name not in lab_names():
            _raise_unknown("lab", name, lab_names())
        path = LABS / f"{name}.py"
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        title, fields = labelled_lines(ast.get_docstring(tree) or "")
        missing = [label for label in LAB_FIELDS if not fields.get(label)]
        symptoms = [
            ast.literal_eval(keyword.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            for keyword in node.keywords
            if keyword.arg == "symptom"
        ]
        if missing or len(symptoms) != 1:
            _raise_incomplete("lab", path, str(missing or "its symptom"))
        needs_torchrun = '"torch.distributed.run"' in source
        return cls(name, path, title, fields, symptoms[0], needs_torchrun)


def lab_names() -> list[str]:
    """List the labs.

    Returns:
        Their names, sorted.

    Raises:
        LabError: This is no checkout of the repository.
    """
    names = sorted(path.stem for path in LABS.glob("*.py"))
    if not names:
        _raise_not_here("lab")
    return names


def difference(sheet: LabSheet) -> list[str]:
    """Compare the broken and the fixed version of a lab.

    Args:
        sheet: The lab.

    Returns:
        Lines of a diff from `broken` to `fixed`.
    """
    source = sheet.path.read_text(encoding="utf-8")
    versions = {
        node.name: ast.get_source_segment(source, node) or ""
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }
    old = versions["broken"].splitlines()
    new = versions["fixed"].replace("def fixed(", "def broken(", 1).splitlines()
    lines = difflib.unified_diff(old, new, "broken", "fixed", n=9, lineterm="")
    return [line for line in lines if not line.startswith("@@")]


@dataclass(frozen=True)
class ExerciseSheet:
    """The header of an exercise's file.

    Attributes:
        name: The file's name without its ending.
        path: The task: a file with a `solve` to be written.
        title: First line of its docstring.
        fields: Each of `EXERCISE_FIELDS` -> its text, on one line.
    """

    name: str
    path: pathlib.Path
    title: str
    fields: dict[str, str]

    @property
    def check(self) -> pathlib.Path:
        """The check's file."""
        return EXERCISES / "checks" / self.path.name

    @property
    def solution(self) -> pathlib.Path:
        """Our solution."""
        return EXERCISES / "solutions" / self.path.name

    @property
    def hints(self) -> list[str]:
        """Three hints, from a nudge to nearly the answer."""
        return [self.fields[f"Hint {number}"] for number in (1, 2, 3)]

    @classmethod
    def read(cls, name: str) -> ExerciseSheet:
        """Read an exercise's file, without running it.

        Args:
            name: As `exercise_names` returns it.

        Returns:
            Its sheet.

        Raises:
            ExerciseError: There is no such exercise, or its header lacks a field.
        """
        known = exercise_names()
        if name not in known:
            _raise_unknown("exercise", name, known)
        path = EXERCISES / f"{name}.py"
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        title, fields = labelled_lines(about)
        missing = [label for label in EXERCISE_FIELDS if not fields.get(label)]
        if missing:
            _raise_incomplete("exercise", path, str(missing))
        return cls(name, path, title, fields)


def exercise_names() -> list[str]:
    """List the exercises, easy ones first.

    Returns:
        Their names, in the order of `chapters/exercises/order.txt`.

    Raises:
        ExerciseError: This is no checkout of the repository.
    """
    order = EXERCISES / "order.txt"
    if not order.is_file():
        _raise_not_here("exercise")
    return order.read_text(encoding="utf-8").split()


def wrong_solutions(name: str) -> dict[pathlib.Path, str]:
    """Find the typical wrong solutions of an exercise. For its proof.

    Args:
        name: Of the exercise.

    Returns:
        File -> regular expression that the reason for its rejection must match: the
        field `Rejected` of its docstring.
    """
    reasons = {}
    for path in sorted((EXERCISES / "wrong").glob(f"{name}__*.py")):
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        reasons[path] = labelled_lines(about)[1]["Rejected"]
    return reasons


def _raise_unknown(kind: str, name: str, known: Sequence[str]) -> NoReturn:
    """Refuse an unknown name and suggest similar ones."""
    near = difflib.get_close_matches(name.replace("-", "_"), known, cutoff=0.5)
    suggestion = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ERRORS[kind](
        f"there is no {kind} {name!r}.{suggestion}",
        why=f"each {kind} has the name of its file in chapters/{kind}s.",
        fix=f"python -m distrinews {kind} list",
        page=f"{kind}s",
    )


def _raise_incomplete(kind: str, path: pathlib.Path, missing: str) -> NoReturn:
    raise ERRORS[kind](
        f"{path.name} lacks {missing}.",
        why=f"the {kind} could not say what it is about.",
        fix=f"compare its header with the header of another {kind}.",
        page=f"{kind}s",
    )


def _raise_not_here(kind: str) -> NoReturn:
    raise ERRORS[kind](
        f"the {kind}s are not here.",
        why="they are files to edit, and come with the repository, not with the "
        "installed package.",
        fix="clone the repository, then in it: pip install -c constraints.txt -e . and "
        f"python -m distrinews {kind} list",
        page=f"{kind}s",
    )


def labelled_lines(about: str) -> tuple[str, dict[str, str]]:
    r"""Parse a docstring of labelled lines.

    Args:
        about: A title; then lines whose first ten characters are a label or blank.

    Returns:
        The title, and label -> text; continued lines are joined with blanks.

    Examples:
        >>> labelled_lines("Title.\n\nTask      Count\n          well.")
        ('Title.', {'Task': 'Count well.'})
    """
    title, _, rest = about.partition("\n")
    fields: dict[str, str] = {}
    for line in rest.splitlines():
        label = line[:10].strip()
        if label:
            fields[label] = line[10:].strip()
        elif line.strip() and fields:
            fields[[*fields][-1]] += " " + line.strip()
    return title, fields
