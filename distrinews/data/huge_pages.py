"""Write a file so that the system can map it in large pages.

A processor remembers where a few thousand pages of memory are. Pages are of 4 KiB, so
that is some megabytes; for a row elsewhere it first looks the page up, in memory
again. A page of 2 MiB covers as much as 512 of them.

Promise: bytes reach the file in whole multiples of 2 MiB, each at such a place. Linux
(from 6.16 with ext4, earlier with xfs) then keeps them in large pages, as long as they
stay in memory. Elsewhere it is a file like any other.

Not here: what is in the file (`distrinews.data.tokenised`), replacing a file as a whole
(`distrinews.system.files`).
Guide: benchmarks/data-path.
"""

from __future__ import annotations

import io
import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["HUGE_PAGE_BYTES", "HugePageWriter"]

HUGE_PAGE_BYTES = 2 * 2**20


class HugePageWriter(io.RawIOBase):
    """A new file to write to, from its beginning to its end.

    Args:
        path: Where; a file that stands there is overwritten.

    Raises:
        OSError: It cannot be opened; in `write` and `close`: it cannot be written.

    Note:
        Cost: 2 MiB of memory, and a copy.

    Examples:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rows"
        >>> with HugePageWriter(path) as file:
        ...     _ = file.write(b"oil "), file.write(b"prices")
        >>> path.read_bytes()
        b'oil prices'
    """

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self._file = path.open("wb")
        # WHY one buffer for good: one that grows and shrinks leaves holes of its size
        # all over the process's memory.
        self._page = memoryview(bytearray(HUGE_PAGE_BYTES))
        self._filled = 0

    def writable(self) -> bool:
        """Say that this file can be written to.

        Returns:
            True.
        """
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        """Buffer bytes, and write each huge page that is full.

        Args:
            data: The next bytes of the file.

        Returns:
            How many bytes were taken: all.
        """
        remaining = memoryview(data).cast("B")
        num_bytes = len(remaining)
        while remaining:
            chunk = remaining[: HUGE_PAGE_BYTES - self._filled]
            self._page[self._filled : self._filled + len(chunk)] = chunk
            self._filled += len(chunk)
            remaining = remaining[len(chunk) :]
            if self._filled == HUGE_PAGE_BYTES:
                self._file.write(self._page)
                self._filled = 0
        return num_bytes

    def close(self) -> None:
        """Write what is left, and close the file."""
        if self.closed:
            return
        try:
            with self._file:
                self._file.write(self._page[: self._filled])
        finally:
            super().close()
