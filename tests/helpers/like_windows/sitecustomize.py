"""Windows' rules on Linux, for a program and all that it starts.

Put this folder first on PYTHONPATH: Python runs the file before anything else. Then

- a file that a process of this session has open, or mapped, can be neither removed nor
  renamed, and nothing can be renamed over it;
- text files without an encoding are cp1252, and lines end in CRLF;
- torch's file store reads its path as letters of the code page 1252;
- there is no `signal.pthread_sigmask`, no `os.posix_fallocate`, no `os.set_blocking`
  (Windows has that from Python 3.12 on), and `os.getppid` never changes.

`sys.platform` stays "linux": Python's own library looks at it, and would break. What
the library does behind `sys.platform == "win32"` is proven elsewhere, or not run.
"""

from __future__ import annotations

import builtins
import codecs
import contextlib
import errno
import functools
import importlib.abc
import importlib.machinery
import io
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

CODE_PAGE = "cp1252"


def is_in_use(path: str | os.PathLike[str], dir_fd: int | None = None) -> bool:
    """Whether a process of this session has the file, or one below it, open."""
    base = os.getcwd() if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
    # WHY not realpath of the whole: a link is removed, and not what it leads to.
    folder, name = os.path.split(os.path.join(base, os.fspath(path)))
    real = os.path.join(os.path.realpath(folder), name)
    session = os.getsid(0)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it ended meanwhile
            if os.getsid(int(pid)) != session:
                continue
            # WHY only files below a folder: shutil.rmtree itself holds folders open.
            if any(
                each == real or each.startswith(real + "/")
                for each in files_of(pid)
                if os.path.isfile(each)
            ):
                return True
    return False


def files_of(pid: str) -> list[str]:
    """What a process has open or mapped."""
    with _open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        used = [line.rstrip("\n").split(maxsplit=5)[-1] for line in maps]
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):  # closed meanwhile
            used.append(os.readlink(f"/proc/{pid}/fd/{number}"))
    return used


def refuse(function: Callable[..., None]) -> Callable[..., None]:
    """Let a function of `os` refuse paths that are in use."""

    @functools.wraps(function)
    def guarded(*paths: Any, **options: Any) -> None:
        fds = [options.get("dir_fd", options.get("src_dir_fd"))]
        fds += [options.get("dst_dir_fd")]
        for path, fd in zip(paths[:2], fds, strict=False):
            if isinstance(path, str | os.PathLike) and is_in_use(path, fd):
                text = "The process cannot access the file (imitated WinError 32)"
                raise PermissionError(errno.EACCES, text, os.fspath(path))
        function(*paths, **options)

    return guarded


_open = io.open


@functools.wraps(_open)
def open_as_windows(
    file: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
    *rest: Any,
    **options: Any,
) -> Any:
    """`open`, with the code page and CRLF where a program leaves the choice."""
    if "b" not in mode and encoding in (None, "locale"):
        encoding = CODE_PAGE
    if "b" not in mode and newline is None and "r" not in mode:
        newline = "\r\n"
    return _open(file, mode, buffering, encoding, errors, newline, *rest, **options)


def code_page(name: str) -> codecs.CodecInfo | None:
    """Windows' codec "mbcs"."""
    return codecs.lookup(CODE_PAGE) if name == "mbcs" else None


def narrow(file_store: Callable[..., Any]) -> Callable[..., Any]:
    """Open torch's FileStore with a path as `_open` reads it."""

    def open_store(path: str | bytes, *rest: Any) -> Any:
        as_bytes = path if isinstance(path, bytes) else path.encode("utf-8")
        name = as_bytes.decode(CODE_PAGE, errors="replace")
        if not os.path.isdir(os.path.dirname(name)):
            # torch waits 301 s before it says so.
            raise RuntimeError(f"imitated: No such file or directory: {name}")
        return file_store(name, *rest)

    return open_store


class _AfterImport(importlib.abc.MetaPathFinder):
    """Change `torch.distributed` as soon as it is there."""

    def find_spec(
        self, name: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "torch.distributed":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_change(module: Any) -> None:
            run(module)
            module.FileStore = narrow(module.FileStore)

        spec.loader.exec_module = run_and_change  # type: ignore[method-assign]
        return spec


def imitate() -> None:
    """Change this process."""
    for function in ("unlink", "remove", "rename", "replace"):
        setattr(os, function, refuse(getattr(os, function)))
    io.open = builtins.open = open_as_windows  # type: ignore[assignment]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(newline="\r\n")
    codecs.register(code_page)
    sys.meta_path.insert(0, _AfterImport())
    parent_pid = os.getppid()
    os.getppid = lambda: parent_pid
    for module, name in (
        *((signal, "pthread_sigmask"), (os, "posix_fallocate"), (os, "set_blocking")),
    ):
        delattr(module, name)


if __name__ == "sitecustomize":  # not where a proof imports it
    imitate()
