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
import uuid

from distrinews.errors import SetupError
from distrinews.system import files

__all__ = ["encode", "new_folder_name"]

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


def new_folder_name(prefix: str) -> pathlib.Path:
    """Choose a name for a new temporary folder that C functions can open by it.

    Why not make it at once: the process that makes a folder has to delete it, and a
    process that is killed by force deletes nothing.

    Args:
        prefix: What its name begins with.

    Returns:
        A path that does not exist yet: below the usual folder for temporary files; on
        Windows below `PUBLIC` or `PROGRAMDATA` where the usual one's name does not
        survive.

    Raises:
        SetupError: None of these can be written to. On this rank only.

    Examples:
        >>> folder = new_folder_name("distrinews-")
        >>> folder.name.startswith("distrinews-"), folder.exists()
        (True, False)
    """
    reasons = []
    parents = [os.environ[name] for name in SHARED_FOLDERS if name in os.environ]
    try:
        parents.insert(0, tempfile.gettempdir())
    except FileNotFoundError as error:  # it could write nowhere
        reasons.append(str(error))
    for parent in parents:
        try:
            encode(parent)
            files.check_writable(pathlib.Path(parent))
            return pathlib.Path(parent) / f"{prefix}{uuid.uuid4().hex}"
        except UnicodeEncodeError as error:
            letters = error.object[error.start : error.end]
            reasons.append(f"{parent}: {letters!r} is not in the system's code page")
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror or error}")
    raise SetupError(
        f"no folder for the file in which the ranks meet ({'; '.join(reasons)}).",
        why="torch opens that file by a name in the system's code page; each rank "
        "would wait minutes for a file that it cannot find or write.",
        fix='set TEMP to a folder with plain letters ($env:TEMP = "C:\\Temp" in '
        "PowerShell; the folder must exist), or TMPDIR elsewhere.",
        page="no-narrow-folder",
    )
