"""`python -m tests.lint`: run the checks, print every finding with file and line."""

from __future__ import annotations

import importlib
import pathlib
import sys
from collections.abc import Callable, Iterable

from . import Finding

MODULES = sorted(
    path.stem
    for path in pathlib.Path(__file__).parent.glob("*.py")
    if not path.stem.startswith("_")
)


def checks(name: str) -> list[Callable[[], Iterable[Finding]]]:
    """The functions of a module that are called `check_...`, in its order."""
    module = importlib.import_module(f".{name}", __package__)
    return [value for key, value in vars(module).items() if key.startswith("check_")]


def main(names: list[str]) -> int:
    """Run the checks of these modules, or of all.

    Returns:
        1 if something was found, 2 if there is no such module, else 0.
    """
    if unknown := sorted(set(names) - set(MODULES)):
        print(f"no such checks: {', '.join(unknown)}; there are {', '.join(MODULES)}")
        return 2
    to_run = [check for name in names or MODULES for check in checks(name)]
    findings = sorted({finding for check in to_run for finding in check()})
    print(*findings, sep="\n", end="\n" if findings else "")
    print(f"{len(to_run)} checks of words and metadata, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
