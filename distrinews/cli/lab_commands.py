"""The command `python -m distrinews lab`: list, run, fix, check and capture labs.

`run` and `fix` show what really happens. `check` judges a learner's version with the
lab's own detector, whatever else the learner changed in the copy.

Not here: running a lab (`distrinews.course.labs`), reading its header
(`distrinews.course.sheets`). This module does not load torch, so that a list or a
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
import sys
from collections.abc import Sequence

from distrinews.course import lab_process
from distrinews.course.lab_process import Finished
from distrinews.course.sheets import LABS, LabSheet, difference, lab_names
from distrinews.errors import LabError
from distrinews.system import checkout

__all__ = ["normalised", "run"]


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Args:
        args: `act` and its arguments: `name`, `names`, `file`.

    Returns:
        The exit code.

    Raises:
        LabError: No such lab, no checkout, or a lab that this system cannot run.
    """
    if args.act == "list":
        return _list()
    if args.act == "capture":
        return _capture(args.names)
    if args.act == "check":
        return _check(args.name, file=args.file)
    return _run_broken(args.name) if args.act == "run" else _fix(args.name)


def _list() -> int:
    """Print one line per lab."""
    sheets = [LabSheet.read(name) for name in lab_names()]
    width = max(len(sheet.name) for sheet in sheets)
    for sheet in sheets:
        kind = "silent" if sheet.is_silent else "loud"
        takes = sheet.fields["Takes"]
        where = " (not on Windows)" if sheet.needs_torchrun else ""
        print(f"{sheet.name:{width}}  {kind:6}  {takes:>5}  {sheet.title}{where}")
    silent = sum(sheet.is_silent for sheet in sheets)
    print(f"\n{len(sheets)} labs, {silent} of them silent: nothing raises.")
    print("Next: python -m distrinews lab run NAME")
    return 0


def _run_broken(name: str) -> int:
    """Run the broken version and print what to look at; 0 if its symptom appeared."""
    sheet = _playable(name)
    print(
        f"{sheet.title}\n{_relative(sheet.path)}, `broken`; {sheet.fields['Takes']}\n"
    )
    result = lab_process.run((str(sheet.path), "broken"))
    if not _shows_symptom(sheet, result):
        print(f"\nThe symptom did not appear: {sheet.fields['Symptom']}")
        return 1
    print(
        f"\nLook at   {sheet.fields['Look at']}\nQuestion  {sheet.fields['Question']}"
    )
    print(
        f"Next      cp {_relative(sheet.path)} my_fix.py, edit `broken` in it, then\n"
        f"          python -m distrinews lab check {name} --file my_fix.py\n"
        f"  more: troubleshooting/#{name.replace('_', '-')}"
    )
    return 0


def _playable(name: str) -> LabSheet:
    """The lab's sheet, if this system can run the lab."""
    sheet = LabSheet.read(name)
    if sheet.needs_torchrun and sys.platform == "win32":
        raise LabError(
            f"the lab {name} starts torchrun, which does not work on Windows.",
            why="PyTorch's Windows wheels are built without libuv, and torchrun needs "
            "it; the lab would show that error and not its own.",
            fix=f"read {_relative(sheet.path)} and chapters/labs/captured/{name}.txt, "
            "or run it in WSL or on Kaggle.",
            page="no-libuv-on-windows",
        )
    return sheet


def _shows_symptom(sheet: LabSheet, result: Finished) -> bool:
    """Whether the symptom is in the output, and the detector did not pass."""
    has_symptom = re.search(sheet.symptom, result.text) is not None
    return has_symptom and not result.is_right


def _fix(name: str) -> int:
    """Show the changes of the fixed version, and run it; 0 if its detector passes."""
    sheet = _playable(name)
    print(f"{sheet.title}\n\nCause     {sheet.fields['Cause']}")
    print(f"Fix       {sheet.fields['Fix']}\n")
    print("\n".join(difference(sheet)) + "\n")
    result = lab_process.run((str(sheet.path), "fixed"))
    print(f"\nConcept   {sheet.fields['Concept']}\nSource    {sheet.fields['Source']}")
    return 0 if result.is_right else 1


def _check(name: str, *, file: str | None) -> int:
    """Judge a copy of a lab, or the lab itself, with its detector; 0 if passed."""
    sheet = _playable(name)
    path = sheet.path if file is None else pathlib.Path(file).resolve()
    if not path.is_file():
        raise LabError(
            f"{file} is not a file.",
            why="there is nothing to check.",
            fix=f"cp {_relative(sheet.path)} my_fix.py",
            page="labs",
        )
    result = lab_process.run((str(path), "broken", "--detector", str(sheet.path)))
    if result.is_right:
        print(f"\npassed: {name}, {result.took_s:.0f} s")
        return 0
    same = _shows_symptom(sheet, result)
    print(f"\nfailed: {name}: {'the symptom is still there' if same else 'not right'}")
    print(f"reason: {result.reason}")
    return 1


def _capture(names: Sequence[str]) -> int:
    """Write the output of broken versions to chapters/labs/captured; 0 if all broke."""
    failed = 0
    for name in names or lab_names():
        sheet = LabSheet.read(name)
        result = lab_process.run((str(sheet.path), "broken"), echo=False)
        has_symptom = _shows_symptom(sheet, result)
        status = "written" if has_symptom else "NO SYMPTOM"
        print(f"{name}: {status}, {result.took_s:.1f} s")
        if not has_symptom:
            failed += 1
            print(result.text)
            continue
        text = f"{_versions()}\n{normalised(result.text)}"
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
    """Remove from an output what differs between machines and runs.

    Args:
        text: What a lab printed.

    Returns:
        The output with short paths, and with words for ports, process ids and times.

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


def _relative(path: pathlib.Path) -> str:
    return path.relative_to(checkout.ROOT).as_posix()
