"""Write files so that a reader never meets half of one, and say clearly when it fails.

Promise: a file or folder written here exists completely or not at all, also after
Ctrl-C, a kill, a full disk or a power cut. What stood there before stays until the
new one is complete.

Not here: what is in the files (`distrinews.checkpoint`, `distrinews.export`).

Guide: understand/checkpoint.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import sys
import uuid
from collections.abc import Generator
from typing import Any, NoReturn

from distrinews.errors import DistriNewsError, OutputError

__all__ = [
    "append_line",
    "atomic_file",
    "atomic_folder",
    "clear_output_errors",
    "sha256",
    "write_json",
]


@contextlib.contextmanager
def clear_output_errors(path: pathlib.Path) -> Generator[None, None, None]:
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
        >>> with clear_output_errors(pathlib.Path("runs")):
        ...     raise OSError(28, "No space left ...")
        Traceback (most recent call last):
        ...
        distrinews.errors.OutputError: runs could not be written: No space left ...
          why:  what had been saved before is intact; this write was undone.
          fix:  free some space, or choose another folder with --runs-dir.
          more: troubleshooting/#output
    """
    try:
        yield
    except DistriNewsError:
        # WHY not only OutputError: HubUnreachableError is an OSError too, and reading
        # rows from the Hub happens while a cache file is being written.
        raise
    except OSError as error:
        _refuse(path, error.strerror or str(error))
    except Exception as error:
        # safetensors (written in Rust) has its own error type for a full disk.
        if type(error).__name__ != "SafetensorError":
            raise
        _refuse(path, str(error))


def _refuse(path: pathlib.Path, reason: str) -> NoReturn:
    raise OutputError(
        f"{path} could not be written: {reason}.",
        why="what had been saved before is intact; this write was undone.",
        fix="free some space, or choose another folder with --runs-dir.",
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
    with clear_output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            yield draft
            _to_disk(draft)
            os.replace(draft, path)
        finally:
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
    with clear_output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        draft.mkdir()
        try:
            yield draft
            for file in sorted(draft.rglob("*")):
                _to_disk(file)
            _to_disk(draft)
            older = path.with_name(f"{draft.name}.older")
            if path.exists():
                os.replace(path, older)
            try:
                os.replace(draft, path)
            except OSError:
                if older.exists():
                    os.replace(older, path)  # what stood there before comes back
                raise
            _to_disk(path.parent)
            shutil.rmtree(older, ignore_errors=True)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


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
    """
    with clear_output_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, ensure_ascii=False) + "\n")


def sha256(path: pathlib.Path) -> str:
    """Fingerprint a file's content.

    Args:
        path: The file.

    Returns:
        The SHA-256 of its bytes, in hexadecimal.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: pathlib.Path) -> None:
    """Have the system write what it still holds in memory."""
    # WHY: a rename may reach the disk before the bytes do. After a power cut the file
    # would have its name and no content.
    if path.is_dir() and sys.platform == "win32":
        return  # Windows cannot open folders, and flushes them itself
    handle = os.open(path, os.O_RDWR if not path.is_dir() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
