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
from collections.abc import Callable, Generator
from typing import Any, NoReturn, TypeVar

from distrinews.errors import DistriNewsError, OutputError

__all__ = [
    "append_line",
    "atomic_file",
    "atomic_folder",
    "check_writable",
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
# What Windows answers while another program has a file open: access denied, sharing
# violation, lock violation.
HELD_BY_ANOTHER = {5, 32, 33}
# Seconds between tries, 15.5 s together: virus scanners, indexers and OneDrive open
# what was just written, for how long was not measured.
PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 4.0, 5.15)

Answer = TypeVar("Answer")


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
          why:  earlier saved files are intact; this write was undone.
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
        reason = error.strerror or str(error)
        if _is_held_by_another(error):
            _raise_held_by_another(path, reason)
        _raise_output_error(path, reason)
    except Exception as error:
        # safetensors (written in Rust) has its own error type for a full disk.
        if type(error).__name__ != "SafetensorError":
            raise
        _raise_output_error(path, str(error))


def _is_held_by_another(error: OSError) -> bool:
    """Whether Windows refused because some program has the file open."""
    return getattr(error, "winerror", None) in HELD_BY_ANOTHER


def _raise_held_by_another(path: pathlib.Path, reason: str) -> NoReturn:
    raise OutputError(
        f"{path} could not be written within {sum(PAUSES_S):.0f} s: {reason}.",
        why="Windows renames no file that a program has open: a virus scanner, the "
        "search indexer, OneDrive, an editor. What had been saved before is intact.",
        fix="close that program, or move out of synchronised folders (a chapter: "
        r"--runs-dir C:\runs, then --resume). Or choose a folder where you may write.",
        page="file-in-use-on-windows",
    )


def _raise_output_error(path: pathlib.Path, reason: str) -> NoReturn:
    raise OutputError(
        f"{path} could not be written: {reason}.",
        why="earlier saved files are intact; this write was undone.",
        fix="free some space, or write to another folder (a chapter: --runs-dir).",
        page="output",
    )


@contextlib.contextmanager
def atomic_file(
    path: pathlib.Path, *, keep_existing: bool = False
) -> Generator[pathlib.Path, None, None]:
    """Write a file under another name and give it its own when it is complete.

    Args:
        path: Where to put the file. Its folder is made if missing.
        keep_existing: If another program has written the file meanwhile, keep its
            file. For a cache whose name says what is in it: that program may use the
            file already, and Windows replaces no file that is in use.

    Yields:
        The path to write to.
    """
    with translate_write_errors(path):
        _make_folder(path.parent)
        draft = _temporary_name(path)
        try:
            yield draft
            _fsync(draft)
            if not (keep_existing and path.exists()):
                _rename(draft, path)
            _fsync(path.parent)
        finally:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                draft.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: pathlib.Path) -> Generator[pathlib.Path, None, None]:
    """Fill a folder under another name and give it its own when it is complete.

    Args:
        path: Where to put the folder. An older one there is replaced.

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


def check_writable(folder: pathlib.Path) -> None:
    """Raise unless a file can be written in a folder; nothing stays there.

    Why not `tempfile`: in a folder of Windows that may not be written to, it takes
    "access denied" for a name that is in use, and tries up to 2^31 others.

    Args:
        folder: It exists.

    Raises:
        OSError: No file can be written. On this rank only.

    Source: https://github.com/python/cpython/issues/66305, mended in 2026.

    Examples:
        >>> check_writable(pathlib.Path("no such folder"))
        Traceback (most recent call last):
        ...
        FileNotFoundError: ...
    """
    path = _temporary_name(folder / "writable")
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    # Windows removes such a file when it is closed, also if we are killed before.
    handle = os.open(path, flags | getattr(os, "O_TEMPORARY", 0))
    try:
        os.write(handle, b"x")
    finally:
        os.close(handle)
        path.unlink(missing_ok=True)


def remove_folder(path: pathlib.Path) -> None:
    """Remove a folder so that no process ever finds half of it.

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
    """Remove what killed writers left; no process may be writing now.

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
        draft.write_text(text + "\n", encoding="utf-8", newline="\n")


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
    with (
        translate_write_errors(path),
        _patiently(lambda: path.open("ab", buffering=0)) as file,
    ):
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
    _patiently(lambda: os.replace(source, target))


def _patiently(action: Callable[[], Answer]) -> Answer:
    """Do what Windows refuses as long as another program has the file open."""
    for pause_s in PAUSES_S:
        try:
            return action()
        except OSError as error:
            if not _is_held_by_another(error):
                raise
        time.sleep(pause_s)
    return action()


def _fsync(path: pathlib.Path) -> None:
    """Flush a file or folder to disk."""
    # WHY: a rename may reach the disk before the bytes do. After a power cut the file
    # would have its name and no content. A folder is flushed for the names in it.
    is_folder = path.is_dir()
    if is_folder and sys.platform == "win32":
        return  # Windows cannot open folders, and flushes them itself
    handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        _flush(handle)
    except OSError as error:
        if not is_folder or error.errno not in CANNOT_FLUSH:
            raise
    finally:
        os.close(handle)


def _flush(handle: int) -> None:
    """Have an open file's bytes on the disk, and not only in the disk's memory."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl  # exists on POSIX only

        names: Any = fcntl  # mypy: F_FULLFSYNC exists on macOS only
        # WHY: macOS' fsync leaves bytes in the drive's own memory (its manual says so).
        # A network drive may not know the request; then fsync is what there is.
        names.fcntl(handle, names.F_FULLFSYNC)
        return
    os.fsync(handle)


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
