"""Track a block's peak private memory (USS).

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

__all__ = ["sample_uss"]

SAMPLE_INTERVAL_S = 0.05


def _uss_bytes(*, mapped: pathlib.Path) -> int:
    """Measure the memory that only this process has, without `mapped`'s pages."""
    # Costs about 10 ms on Linux, where the kernel walks over all pages. Which file a
    # page belongs to is known there only; elsewhere unwritten pages of a mapped file
    # are not part of this number in the first place.
    if not psutil.LINUX:
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
def sample_uss(mapped: pathlib.Path) -> Generator[list[int], None, None]:
    """Sample this process's memory every 50 ms, in a thread.

    Args:
        mapped: A folder; pages of the files below it do not count.

    Yields:
        A growing list of samples [bytes]; the first is taken before the block.
    """
    samples, stop = [_uss_bytes(mapped=mapped)], threading.Event()

    def sample() -> None:
        while not stop.wait(SAMPLE_INTERVAL_S):
            samples.append(_uss_bytes(mapped=mapped))

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield samples
    finally:
        stop.set()
        sampler.join()
        samples.append(_uss_bytes(mapped=mapped))
