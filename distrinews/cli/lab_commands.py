"""What `python -m distrinews lab` does: list the labs, run, fix, check, capture them.

Promise: `run` and `fix` show what really happens; `check` judges a learner's version by
the lab's own detector, whatever else the learner changed in the copy.

Not here: what a lab is and how it is played (`distrinews.course.labs`), what its file
says (`distrinews.course.sheets`). This module loads no torch, so that a list or a
mistyped name is answered at once.

Guide: learn/labs.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import pathlib
import platform
import re
from collections.abc import Sequence

from distrinews.course.lab_process import Finished, play
from distrinews.course.sheets import LABS, LabSheet, difference, lab_names
from distrinews.errors import LabError
from distrinews.system import checkout

__all__ = [
    "capture",
    "check",
    "fix",
    "list_labs",
    "normalised",
    "run",
    "serve",
]

# The line by which a lab says that its detector was content (`labs.NOTHING_WRONG`).
CONTENT = "-- the detector finds nothing wrong --"
# How the library begins the line that says what failed.
TOLD = ("A rank failed: ", "Error: ")


def serve(given: argparse.Namespace) -> int:
    """Do what the command line asks for.

    Args:
        given: `act`, and what it needs: `name`, `names`, `file`.

    Returns:
        The exit code.

    Raises:
        LabError: No such lab, or no checkout.
    """
    if given.act == "list":
        return list_labs()
    if given.act == "capture":
        return capture(given.names)
    if given.act == "check":
        return check(given.name, file=given.file)
    return run(given.name) if given.act == "run" else fix(given.name)


def list_labs() -> int:
    """Print a line for each lab.

    Returns:
        0.
    """
    sheets = [LabSheet.read(name) for name in lab_names()]
    width = max(len(sheet.name) for sheet in sheets)
    for sheet in sheets:
        kind = "silent" if sheet.is_silent else "loud"
        takes = sheet.fields["Takes"]
        print(f"{sheet.name:{width}}  {kind:6}  {takes:>5}  {sheet.title}")
    silent = sum(sheet.is_silent for sheet in sheets)
    print(f"\n{len(sheets)} labs, {silent} of them silent: nothing raises.")
    print("Next: python -m distrinews lab run NAME")
    return 0


def run(name: str) -> int:
    """Play the broken version and say what to look at.

    Args:
        name: Of the lab.

    Returns:
        0 if the symptom appeared, as it should; else 1.
    """
    sheet = LabSheet.read(name)
    print(f"{sheet.title}\n{_shown(sheet.path)}, `broken`; {sheet.fields['Takes']}\n")
    played = play((str(sheet.path), "broken"))
    if not shows_symptom(sheet, played):
        print(f"\nThe symptom did not appear: {sheet.fields['Symptom']}")
        return 1
    print(
        f"\nLook at   {sheet.fields['Look at']}\nQuestion  {sheet.fields['Question']}"
    )
    print(
        f"Next      cp {_shown(sheet.path)} my_fix.py, edit `broken` in it, then\n"
        f"          python -m distrinews lab check {name} --file my_fix.py\n"
        f"  more: troubleshooting/#{name.replace('_', '-')}"
    )
    return 0


def shows_symptom(sheet: LabSheet, played: Finished) -> bool:
    """Whether the output shows the lab's symptom.

    Args:
        sheet: Of the lab.
        played: How a story ended.

    Returns:
        True if the symptom is there and the detector was not content.
    """
    found = re.search(sheet.symptom, played.text) is not None
    return found and not is_right(played)


def is_right(played: Finished) -> bool:
    """Whether a story ended well and its detector was content.

    Args:
        played: How it ended.

    Returns:
        True only if both.
    """
    return played.code == 0 and CONTENT in played.text.splitlines()


def fix(name: str) -> int:
    """Show what the fixed version changes, and play it.

    Args:
        name: Of the lab.

    Returns:
        0 if the detector is content, as it should be; else 1.
    """
    sheet = LabSheet.read(name)
    print(f"{sheet.title}\n\nCause     {sheet.fields['Cause']}")
    print(f"Fix       {sheet.fields['Fix']}\n")
    print("\n".join(difference(sheet)) + "\n")
    played = play((str(sheet.path), "fixed"))
    right = is_right(played)
    print(f"\nConcept   {sheet.fields['Concept']}\nSource    {sheet.fields['Source']}")
    return 0 if right else 1


def check(name: str, *, file: str | None) -> int:
    """Judge a version of a lab by the lab's own detector.

    Args:
        name: Of the lab.
        file: A learner's copy, whose `broken` was edited; None for the lab itself.

    Returns:
        0 if passed, 1 if failed.

    Raises:
        LabError: There is no such lab or file.
    """
    sheet = LabSheet.read(name)
    path = sheet.path if file is None else pathlib.Path(file).resolve()
    if not path.is_file():
        raise LabError(
            f"{file} is no file.",
            why="there is nothing to check.",
            fix=f"cp {_shown(sheet.path)} my_fix.py",
            page="labs",
        )
    played = play((str(path), "broken", "--judge", str(sheet.path)))
    if is_right(played):
        print(f"\npassed: {name}, {played.took_s:.0f} s")
        return 0
    same = shows_symptom(sheet, played)
    print(f"\nfailed: {name}: {'the symptom is still there' if same else 'not right'}")
    print(f"reason: {reason(played)}")
    return 1


def reason(played: Finished) -> str:
    """Find the line that says why a story failed.

    Args:
        played: How it ended.

    Returns:
        The library's message, or the last line of the output.
    """
    lines = [line for line in played.text.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(TOLD)]
    return (told or lines or [f"it printed nothing; exit code {played.code}"])[-1]


def capture(chosen: Sequence[str]) -> int:
    """Write what the broken versions print to chapters/labs/captured. For developers.

    Args:
        chosen: Names of labs; none: all.

    Returns:
        0 if every symptom appeared; a lab without it is not written.
    """
    failed = 0
    for name in chosen or lab_names():
        sheet = LabSheet.read(name)
        played = play((str(sheet.path), "broken"), echo=False)
        seen = shows_symptom(sheet, played)
        print(f"{name}: {'written' if seen else 'NO SYMPTOM'}, {played.took_s:.1f} s")
        if not seen:
            failed += 1
            print(played.text)
            continue
        text = f"{_versions()}\n{normalised(played.text)}"
        target = LABS / "captured" / f"{name}.txt"
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8", newline="\n")
    return 1 if failed else 0


def _versions() -> str:
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    torch = importlib.metadata.version("torch")
    python = platform.python_version()
    return f"# torch {torch}, Python {python}, {platform.system()}, {today}"


def normalised(text: str) -> str:
    """Take out of an output what differs from machine to machine and run to run.

    Args:
        text: What a lab printed.

    Returns:
        The same with short paths, and letters for ports, process ids and times.

    Examples:
        >>> normalised('File "/home/me/site-packages/torch/nn/x.py", line 3')
        'File ".../site-packages/torch/nn/x.py", line 3'
        >>> normalised("[127.0.0.1]:45123, pid: 712")
        '[127.0.0.1]:PORT, pid: PID'
    """
    home = re.escape(str(checkout.ROOT))
    for pattern, short in (
        (home + r"[/\\]", ""),
        (r"[^\s\"']*[/\\](site-packages|dist-packages)[/\\]", r".../\1/"),
        (r"[^\s\"']*[/\\](lib[/\\]python3\.\d+)[/\\]", r".../\1/"),
        (r"[^\s\"':=]*distrinews-lab-\w+", "/tmp/lab"),
        (r"(127\.0\.0\.1\]?|localhost|port):( ?)\d{2,5}", r"\1:\2PORT"),
        (r"\b(pid|local pid|PID)(:? ?)\d+", r"\1\2PID"),
        (r"\[([WEI])\d{3,4} \d\d:\d\d:\d\d\.\d+(?: \d+)?", r"[\1 TIME"),
        (r"\b([WEI])\d{4} \d\d:\d\d:\d\d\.\d+ \d+", r"\1 TIME PID"),
        (r"\d{4}-\d\d-\d\d[T_]\d\d:\d\d:\d\d(\.\d+)?", "TIME"),
        (r"\b0x[0-9a-f]{6,}", "0xADDRESS"),
        (r"\x1b\[[0-9;]*m", ""),  # bold and colours
        (r"[ \t]+\n", "\n"),
    ):
        text = re.sub(pattern, short, text)
    return text


def _shown(path: pathlib.Path) -> str:
    return path.relative_to(checkout.ROOT).as_posix()
