"""What to type in the reader's shell: PowerShell on Windows, sh elsewhere.

Guide: troubleshooting/#setup.
"""

from __future__ import annotations

import sys

__all__ = ["set_variable", "unset_variables"]


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
