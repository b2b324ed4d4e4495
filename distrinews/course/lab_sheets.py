"""What the labs' files say about themselves, read without running them.

Not here: playing labs (`distrinews.course.labs`), showing and checking them
(`distrinews.cli.lab_commands`). No torch is loaded here.

Guide: learn/labs.
"""

from __future__ import annotations

import ast
import difflib
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

from distrinews.errors import LabError
from distrinews.system import checkout

__all__ = ["FIELDS", "LABS", "Sheet", "difference", "labelled_lines", "names"]

FIELDS = (
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


@dataclass(frozen=True)
class Sheet:
    """What a lab's file says about itself.

    Attributes:
        name: The file's name without its ending.
        path: The file.
        title: First line of its docstring.
        fields: Each of `FIELDS` -> its text, on one line.
        symptom: Regular expression that finds the symptom in the output.
    """

    name: str
    path: pathlib.Path
    title: str
    fields: dict[str, str]
    symptom: str

    @property
    def is_silent(self) -> bool:
        """Whether nothing raises: only the detector sees it."""
        return self.fields["Silent"] == "yes"

    @classmethod
    def read(cls, name: str) -> Sheet:
        """Read a lab's file, without running it.

        Args:
            name: As `names` gives it.

        Returns:
            Its sheet.

        Raises:
            LabError: There is no such lab, or its header lacks a field.
        """
        if name not in names():
            raise LabError(
                f"there is no lab {name!r}.{did_you_mean(name, names())}",
                why="a lab's name is that of its file in chapters/labs.",
                fix="python -m distrinews lab list",
                page="labs",
            )
        path = LABS / f"{name}.py"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        title, fields = labelled_lines(ast.get_docstring(tree) or "")
        missing = [label for label in FIELDS if not fields.get(label)]
        symptoms = [
            ast.literal_eval(word.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            for word in node.keywords
            if word.arg == "symptom"
        ]
        if missing or len(symptoms) != 1:
            raise LabError(
                f"{path.name} lacks {missing or 'its symptom'}.",
                why="the lab could not say what it shows.",
                fix="compare its header with that of another lab.",
                page="labs",
            )
        return cls(name, path, title, fields, symptoms[0])


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Suggest names that look like a mistyped one.

    Args:
        name: As it was typed.
        known: All names.

    Returns:
        A question that begins with a blank; empty if none is near.

    Examples:
        >>> did_you_mean("missing-barier", ["missing_barrier", "wrong_seed"])
        ' Did you mean missing_barrier?'
    """
    near = difflib.get_close_matches(name.replace("-", "_"), known, cutoff=0.5)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def labelled_lines(about: str) -> tuple[str, dict[str, str]]:
    r"""Take a docstring of labelled lines apart.

    Args:
        about: A title; then lines whose first ten characters are a label or blank.

    Returns:
        The title, and label -> text; what is continued is joined with blanks.

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


def names() -> list[str]:
    """List the labs.

    Returns:
        Their names, sorted.

    Raises:
        LabError: This is no checkout of the repository.
    """
    found = sorted(path.stem for path in LABS.glob("*.py"))
    if not found:
        raise LabError(
            "the labs are not here.",
            why="they are files to edit, and come with the repository, not with the "
            "installed package.",
            fix="clone the repository, then in it: pip install -e . and "
            "python -m distrinews lab list",
            page="labs",
        )
    return found


def difference(sheet: Sheet) -> list[str]:
    """Compare the two stories of a lab.

    Args:
        sheet: Of the lab.

    Returns:
        Lines of a diff from `broken` to `fixed`.
    """
    source = sheet.path.read_text(encoding="utf-8")
    stories = {
        node.name: ast.get_source_segment(source, node) or ""
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }
    old = stories["broken"].splitlines()
    new = stories["fixed"].replace("def fixed(", "def broken(", 1).splitlines()
    lines = difflib.unified_diff(old, new, "broken", "fixed", n=9, lineterm="")
    return [line for line in lines if not line.startswith("@@")]
