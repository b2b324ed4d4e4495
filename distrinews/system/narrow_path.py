"""Find a folder whose name torch's file store can open, also on Windows.

`torch.distributed.FileStore` hands its path to a C function that reads bytes. On
Windows it takes them for letters of the system's code page (1252 in Western Europe),
but Python passes UTF-8. With a temporary folder below `Users/Jörg` the store looks for
a folder that does not exist, and each rank waits 301 s for "no such file".
Not run on Windows: its code page is imitated by `tests/helpers/like_windows`.

Guide: troubleshooting/#no-narrow-folder.
"""

from __future__ import annotations

import os
import pathlib
import tempfile

from distrinews.errors import SetupError

__all__ = ["encode", "make_folder"]

# Folders of Windows for all users, whose names hold plain letters on every system that
# we know of. Taken where the user's own folder has letters that the code page lacks.
SHARED_FOLDERS = ("PUBLIC", "PROGRAMDATA")


def encode(path: str) -> str | bytes:
    """Write a path the way a C function of this system reads it.

    Args:
        path: Any path.

    Returns:
        On Windows its bytes in the system's code page, elsewhere the path itself.

    Raises:
        UnicodeEncodeError: The code page lacks one of its letters. On this rank only.

    Source: `FileStore.cpp` in torch 2.13 calls `_open`; Microsoft's UCRT reference says
        that it takes names in the ANSI code page.

    Examples:
        >>> encode("/tmp/store") in ("/tmp/store", b"/tmp/store")
        True
    """
    try:
        return path.encode("mbcs")
    except LookupError:  # a codec that only Windows has
        return path


def make_folder(prefix: str) -> pathlib.Path:
    """Make a new temporary folder that C functions can open by its name.

    Args:
        prefix: What its name begins with.

    Returns:
        The folder: below the usual one for temporary files; on Windows below `PUBLIC`
        or `PROGRAMDATA` where the usual one's name does not survive.

    Raises:
        SetupError: None of these can be used. On this rank only.

    Examples:
        >>> folder = make_folder("distrinews-")
        >>> folder.name.startswith("distrinews-")
        True
        >>> folder.rmdir()
    """
    reasons = []
    for parent in _candidates():
        try:
            encode(str(parent))
            return pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        except UnicodeEncodeError as error:
            letters = error.object[error.start : error.end]
            reasons.append(f"{parent}: {letters!r} is not in the system's code page")
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror or error}")
    raise SetupError(
        f"no folder for the file in which the ranks meet ({'; '.join(reasons)}).",
        why="torch opens that file by a name in the system's code page, and each rank "
        "would wait minutes for a file that it cannot find.",
        fix='set TEMP to a folder with plain letters ($env:TEMP = "C:\\Temp" in '
        "PowerShell; the folder must exist), or TMPDIR elsewhere.",
        page="no-narrow-folder",
    )


def _candidates() -> list[str]:
    """Where to try, the usual folder first."""
    shared = [os.environ[name] for name in SHARED_FOLDERS if name in os.environ]
    return [tempfile.gettempdir(), *shared]
