"""Watch how much memory a block of code needs that nobody else could use.

Promise: what counts is what would be given back if the process ended (the unique set
size), without the pages of mapped files: all ranks share those, and the system takes
them back whenever it likes. A peak between two lines of code is seen, too.

Not here: peaks of whole processes (`distrinews.system.machine`).

Guide: benchmarks/data-path.
"""

from __future__ import annotations

import contextlib
import pathlib
import threading
from collections.abc import Generator

import psutil

__all__ = ["unique_bytes", "watched"]

LOOK_EVERY_S = 0.05


def unique_bytes(*, mapped: pathlib.Path | None = None) -> int:
    """Measure the memory that only this process has.

    Args:
        mapped: A folder; pages of the files below it do not count. None: all count.

    Returns:
        Bytes.

    Note:
        Cost: about 10 ms on Linux, where the kernel walks over all pages. Which file a
        page belongs to is known there only; elsewhere unwritten pages of a mapped file
        are not part of this number in the first place.
    """
    if mapped is None or not psutil.LINUX:
        return int(psutil.Process().memory_full_info().uss)
    # WHY not psutil's list of maps: building it takes more memory than is looked for.
    # A page that only this process has looked at so far counts as its own in the
    # unique set size, although it is the file's.
    name, total, counts = str(mapped).encode(), 0, True
    with open("/proc/self/smaps", "rb", buffering=1 << 16) as maps:
        for line in maps:
            if line.startswith((b"Private_Clean:", b"Private_Dirty:")):
                total += counts * int(line.split()[1]) * 1024
            elif line[:1].islower() or line[:1].isdigit():  # "7f12...-7f34... r--s"
                counts = name not in line
    return total


@contextlib.contextmanager
def watched(mapped: pathlib.Path) -> Generator[list[int], None, None]:
    """Look at this process's memory all the time, in a thread.

    Args:
        mapped: As for `unique_bytes`.

    Yields:
        A list that grows: bytes at each look; the first one before the block.
    """
    seen, over = [unique_bytes(mapped=mapped)], threading.Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY_S):
            seen.append(unique_bytes(mapped=mapped))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()
        seen.append(unique_bytes(mapped=mapped))
