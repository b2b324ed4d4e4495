"""What to type in the reader's shell: PowerShell on Windows, sh elsewhere.

Guide: troubleshooting/#setup.
"""

from __future__ import annotations

import sys

__all__ = ["rewrite_file", "set_variable", "unset_variables"]


def rewrite_file(old: str, new: str, expression: str, *, modules: str = "") -> str:
    """Write the command that makes a file from another one, for any shell with Python.

    Why: PowerShell has no `iconv`, `sed`, `head` or `jq`, and its `>` writes no bytes.

    Args:
        old: The file; without quotes in its path.
        new: The one to write.
        expression: What to write, in Python, from `old`, the file's bytes. Without
            double quotes, `$`, `` ` ``, `!` and `%`, which mean something to a shell.
        modules: What the expression uses, with commas between.

    Returns:
        The command.

    Examples:
        >>> print(rewrite_file("a", "b", "old[:9]"))
        python -c "old = open('a', 'rb').read(); open('b', 'wb').write(old[:9])"
    """
    load = f"import {modules}; " if modules else ""
    read = f"old = open('{old}', 'rb').read()"
    return f"python -c \"{load}{read}; open('{new}', 'wb').write({expression})\""


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
