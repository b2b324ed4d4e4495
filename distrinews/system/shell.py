"""What to type in the reader's shell: PowerShell on Windows, sh elsewhere.

Guide: troubleshooting/#setup.
"""

from __future__ import annotations

import pathlib
import sys

__all__ = ["copy_beginning", "set_variable", "unset_variables"]


def copy_beginning(source: pathlib.Path, target: str, *, num_bytes: int) -> str:
    """Write the command that copies a file's first bytes, for any shell with Python.

    Args:
        source: The file; without quotes in its path.
        target: Its copy.
        num_bytes: How many.

    Returns:
        The command.

    Examples:
        >>> print(copy_beginning(pathlib.Path("news.csv"), "old.csv", num_bytes=9))
        python -c "open('old.csv', 'wb').write(open('news.csv', 'rb').read(9))"
    """
    copy = f"open('{target}', 'wb').write(open('{source.as_posix()}', 'rb').read("
    return f'python -c "{copy}{num_bytes}))"'


def set_variable(name: str, value: str) -> str:
    """Write the command that sets a variable for what is started afterwards.

    Args:
        name: Of the variable.
        value: Without quotes in it.

    Returns:
        The command.

    Examples:
        >>> from unittest import mock
        >>> with mock.patch.object(sys, "platform", "win32"):
        ...     set_variable("OMP_NUM_THREADS", "1")
        '$env:OMP_NUM_THREADS = "1"'
    """
    if sys.platform == "win32":
        return f'$env:{name} = "{value}"'
    # A name of Windows' kind, with a blank, needs quotes in sh, too.
    return f'export {name}="{value}"' if " " in value else f"export {name}={value}"


def unset_variables(*names: str) -> str:
    """Write the command that removes variables.

    Args:
        *names: Of the variables.

    Returns:
        The command.

    Examples:
        >>> from unittest import mock
        >>> with mock.patch.object(sys, "platform", "win32"):
        ...     unset_variables("RANK", "WORLD_SIZE")
        'Remove-Item Env:RANK, Env:WORLD_SIZE'
    """
    if sys.platform == "win32":
        return "Remove-Item " + ", ".join(f"Env:{name}" for name in names)
    return "unset " + " ".join(names)
