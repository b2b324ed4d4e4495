"""Write files so that a reader never meets half of one, and say clearly when it fails.

Promise: a file or folder written here exists completely or not at all, also after
Ctrl-C, a kill, a full disk or a power cut. What stood there before stays until the
new one is complete.

Not here: what is in the files (`distrinews.checkpoint`, `distrinews.training.export`).

Guide: understand/checkpoint.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import sys
import time
import uuid
from collections.abc import Generator
from typing import Any, NoReturn

from distrinews.errors import DistriNewsError, OutputError

__all__ = [
    "append_line",
    "atomic_file",
    "atomic_folder",
    "remove_drafts",
    "translate_write_errors",
    "parse_json",
    "read_json",
    "remove_folder",
    "sha256",
    "write_json",
]

# Hundreds of times what this library writes; keeps a foreign file out of the memory.
MAX_JSON_BYTES = 64 * 2**20
# What systems answer that cannot flush a folder (some network and shared ones).
CANNOT_FLUSH = {errno.EINVAL, errno.ENOTSUP}


@contextlib.contextmanager
def translate_write_errors(path: pathlib.Path) -> Generator[None, None, None]:
    """Turn the system's error while writing into one that says what to do.

    Args:
        path: What is being written; named in the message.

    Yields:
        None.

    Raises:
        OutputError: Writing failed: no space, no permission, a file where a folder
            should be. On this rank only; wrap it in `dist.raise_together`.
        DistriNewsError: Raised inside the block; it passes unchanged.

    Examples:
        >>> with translate_write_errors(pathlib.Path("runs")):
        ...     raise OSError(28, "No space left ...")
        Traceback (most recent call last):
        ...
        distrinews.errors.OutputError: runs could not be written: No space left ...
          why:  what had been saved before is intact; this write was undone.
          fix:  free some space, or write to another folder (a chapter: --runs-dir).
          more: troubleshooting/#output
    """
    try:
        yield
    except DistriNewsError:
        # WHY not only OutputError: HubUnreachableError is an OSError too, and reading
        # rows from the Hub happens while a cache file is being written.
        raise
    except OSError as error:
        _raise_output_error(path, error.strerror or str(error))
    except Exception as error:
        # safetensors (written in Rust) has its own error type for a full disk.
        if type(error).__name__ != "SafetensorError":
            raise
        _raise_output_error(path, str(error))


def _raise_output_error(path: pathlib.Path, reason: str) -> NoReturn:
    raise OutputError(
        f"{path} could not be written: {reason}.",
        why="what had been saved before is intact; this write was undone.",
        fix="free some space, or write to another folder (a chapter: --runs-dir).",
        page="output",
    )


@contextlib.contextmanager
def atomic_file(path: pathlib.Path) -> Generator[pathlib.Path, None, None]:
    """Write a file under another name and give it its own when it is complete.

    Args:
        path: Where the file shall be. Its folder is made if missing.

    Yields:
        The path to write to.
    """
    with translate_write_errors(path):
        _make_folder(path.parent)
        draft = _temporary_name(path)
        try:
            yield draft
            _fsync(draft)
            _rename(draft, path)
            _fsync(path.parent)
        finally:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                draft.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: pathlib.Path) -> Generator[pathlib.Path, None, None]:
    """Fill a folder under another name and give it its own when it is complete.

    Args:
        path: Where the folder shall be. An older one there is replaced.

    Yields:
        An empty folder to fill.

    Raises:
        OSError: Never leaves this function: it becomes an OutputError.
    """
    with translate_write_errors(path):
        _make_folder(path.parent)
        draft = _temporary_name(path)
        draft.mkdir()
        try:
            yield draft
            for file in sorted(draft.rglob("*")):
                _fsync(file)
            _fsync(draft)
            _replace_folder(draft, path)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def remove_folder(path: pathlib.Path) -> None:
    """Remove a folder so that nobody ever finds half of it.

    Why: a removal takes time, and a kill in its middle would leave a folder with its
    full name and some of its files. So it loses its name first.

    Args:
        path: The folder. What cannot be removed stays, under another name.
    """
    renamed = _temporary_name(path)
    with contextlib.suppress(OSError):
        _rename(path, renamed)
        shutil.rmtree(renamed, ignore_errors=True)


def remove_drafts(folder: pathlib.Path, *, min_age_s: float = 0.0) -> None:
    """Clear up what writers left that were killed; nobody may be writing now.

    Args:
        folder: Where `atomic_file`, `atomic_folder` and `remove_folder` were at work.
        min_age_s: Leave what was written later than this ago: somebody may still be at
            it.
    """
    for path in folder.glob(".*") if folder.exists() else ():
        match = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}(\.older)?", path.name)
        if match is None or _age_s(path) < min_age_s:
            continue
        name, is_older = match.groups()
        if is_older and not path.with_name(name).exists():
            # Killed between the two renames of `atomic_folder`: the new folder had not
            # taken its place yet. The one before it comes back.
            with contextlib.suppress(OSError):
                _rename(path, path.with_name(name))
        elif path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            # WHY suppress: on a disk that became read-only one can still resume.
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _age_s(path: pathlib.Path) -> float:
    """Seconds since a file, or any file in a folder, was last written."""
    written_s = 0.0
    for each in (path, *path.rglob("*")):
        with contextlib.suppress(OSError):  # removed at this moment
            written_s = max(written_s, each.stat().st_mtime)
    return time.time() - written_s


def read_json(path: pathlib.Path) -> Any:
    """Read JSON that anybody may have written.

    Args:
        path: The file.

    Returns:
        Plain values; every number in them is finite.

    Raises:
        ValueError: It is no JSON, holds a name twice in one table, `NaN` or an endless
            number, is nested too deep or too large. On this rank only.
        FileNotFoundError: It is no file. On this rank only.
        OSError: It cannot be read. On this rank only.
    """
    if not path.is_file():  # a pipe would be waited for
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"larger than {MAX_JSON_BYTES} bytes")
    return parse_json(path.read_bytes())


def parse_json(content: bytes) -> Any:
    """Read JSON that anybody may have written, from memory.

    Args:
        content: UTF-8.

    Returns:
        Plain values; every number in them is finite.

    Raises:
        ValueError: As `read_json` says. On this rank only.

    Examples:
        >>> parse_json(b'{"a": 1}')
        {'a': 1}
    """
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique_keys,
            parse_float=_finite,
            parse_constant=_finite,
        )
    except RecursionError:
        raise ValueError("nested too deep") from None


def write_json(path: pathlib.Path, value: Any) -> None:
    """Write a value as JSON, atomically.

    Args:
        path: The file.
        value: Plain values.
    """
    with atomic_file(path) as draft:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
        draft.write_text(text + "\n", encoding="utf-8")


def append_line(path: pathlib.Path, value: Any) -> None:
    """Add one line of JSON to a log.

    Args:
        path: The file; made if missing.
        value: Plain values.

    Raises:
        OSError: It could not be written, as the OutputError that names the cure. The
            file is as it was. On this rank only.
    """
    line = (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8")
    with translate_write_errors(path), path.open("ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(line) != len(line):  # the disk took a part
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            # WHY: half a line would spoil the next one, too.
            with contextlib.suppress(OSError):
                file.truncate(before)
            raise


def sha256(path: pathlib.Path) -> str:
    """Fingerprint a file's content.

    Args:
        path: The file.

    Returns:
        The SHA-256 of its bytes, in hexadecimal.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _temporary_name(path: pathlib.Path) -> pathlib.Path:
    """A name for a draft, or for a folder that is about to be removed."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")


def _make_folder(folder: pathlib.Path) -> None:
    """Make a folder and those above it, and have their names on the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _fsync(path.parent)


def _replace_folder(draft: pathlib.Path, path: pathlib.Path) -> None:
    """Rename a complete draft to `path`, and then remove the folder it replaces."""
    older = path.with_name(f"{draft.name}.older")
    if path.exists():
        _rename(path, older)
    try:
        # No system replaces a folder in one stroke. After a kill at this very place
        # the older one has lost its name; `remove_drafts` gives it back.
        _rename(draft, path)
    except OSError:
        if older.exists():
            _rename(older, path)
        raise
    _fsync(path.parent)
    shutil.rmtree(older, ignore_errors=True)


def _rename(source: pathlib.Path, target: pathlib.Path) -> None:
    # WHY wait: Windows refuses to rename what another program has open, and virus
    # scanners open new files for a moment. The pauses are a guess: not measured.
    for pause_s in (0.05, 0.2, 1.0) if sys.platform == "win32" else ():
        try:
            os.replace(source, target)
        except PermissionError:
            time.sleep(pause_s)
        else:
            return
    os.replace(source, target)


def _fsync(path: pathlib.Path) -> None:
    """Flush a file or folder to disk."""
    # WHY: a rename may reach the disk before the bytes do. After a power cut the file
    # would have its name and no content. A folder is flushed for the names in it.
    is_folder = path.is_dir()
    if is_folder and sys.platform == "win32":
        return  # Windows cannot open folders, and flushes them itself
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if not is_folder or error.errno not in CANNOT_FLUSH:
            raise
    finally:
        os.close(handle)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; Python's own parser keeps the last of two equal names."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice in one table")
    return table


def _finite(text: str) -> float:
    """A JSON number; Python's own also takes NaN, Infinity and 1e999."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number
