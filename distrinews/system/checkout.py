"""The checkout of the repository that this library was installed from, if there is one.

Labs, exercises, the site and the Space's files are in the repository, not in the wheel.
A command that needs them loads them from here, and says so when they are missing.

Guide: reference/command-line.
"""

from __future__ import annotations

import importlib
import importlib.util
import pathlib
import sys
from types import ModuleType

from distrinews.errors import DistriNewsError, SetupError

__all__ = ["ROOT", "find", "load", "load_file"]

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
            fix="git clone the project, in it: pip install -c constraints.txt -e .",
            page="setup",
        )
    return file


def load(path: str) -> ModuleType:
    """Import a module that only a checkout has.

    Its folder joins `sys.path`, because such a file may import its neighbours by name,
    and it is imported by its own name, because they may import it, too.

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


def load_file(
    path: str | pathlib.Path, *, error: type[DistriNewsError], page: str
) -> ModuleType:
    """Run a file as a module that no import finds.

    Why not `load`: a learner's file may be called like a module of Python's, and an
    exercise, its check and its solution share a name.

    Args:
        path: The file.
        error: What to raise where it cannot be a module.
        page: The error's anchor.

    Returns:
        A new module, in each call.

    Raises:
        DistriNewsError: As `error`: its name does not end in ".py". On this rank only.

    Examples:
        >>> load_file("solution.txt", error=SetupError, page="setup")
        Traceback (most recent call last):
        ...
        distrinews.errors.SetupError: solution.txt is no Python file.
          why:  it could not be imported.
          fix:  give it a name that ends in .py
          more: troubleshooting/#setup
    """
    spec = importlib.util.spec_from_file_location(pathlib.Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise error(
            f"{path} is no Python file.",
            why="it could not be imported.",
            fix="give it a name that ends in .py",
            page=page,
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
