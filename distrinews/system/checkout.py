"""The checkout of the repository that this library was installed from, if there is one.

Labs, exercises, the site and the Space's files are in the repository, not in the wheel.
A command that needs them loads them from here, and says so when they are missing.

Guide: reference/command-line.
"""

from __future__ import annotations

import importlib
import pathlib
import sys
from types import ModuleType

from distrinews.errors import SetupError

__all__ = ["ROOT", "find", "load"]

# The folder that holds distrinews/: the repository, or site-packages.
ROOT = pathlib.Path(__file__).resolve().parents[2]


def find(path: str) -> pathlib.Path:
    """Find a file that only a checkout has.

    Args:
        path: Relative to the repository, such as "apps/space/space.py".

    Returns:
        Where it lies.

    Raises:
        SetupError: There is no checkout.

    Examples:
        >>> find("apps/no_such_file.py")
        Traceback (most recent call last):
        ...
        distrinews.errors.SetupError: ...
    """
    file = ROOT / path
    if not file.is_file():
        raise SetupError(
            f"{path} is not in {ROOT}: distrinews is installed here without its "
            "repository.",
            why="this command uses files that are not part of the package.",
            fix="git clone the project, and in it: pip install -e .",
            page="setup",
        )
    return file


def load(path: str) -> ModuleType:
    """Import a module that only a checkout has.

    Its folder joins `sys.path`, because such a file may import its neighbours by name.

    Args:
        path: Relative to the repository, such as "apps/space/space.py".

    Returns:
        The module.

    Raises:
        SetupError: There is no checkout.
    """
    file = find(path)
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))
    return importlib.import_module(file.stem)
