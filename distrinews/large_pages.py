"""Write a file so that the system can map it in large pages.

A processor remembers where a few thousand pages of memory are. Pages are of 4 KiB, so
that is some megabytes; for a row elsewhere it first looks the page up, in memory
again. A page of 2 MiB covers as much as 512 of them.

Promise: bytes reach the file in whole multiples of 2 MiB, each at such a place. Linux
(from 6.16 with ext4, earlier with xfs) then keeps them in large pages, as long as they
stay in memory. Elsewhere it is a file like any other.

Not here: what is in the file (`distrinews.data`), replacing a file as a whole
(`distrinews.files`).
Guide: benchmarks/data-path.
"""

from __future__ import annotations

import io
import pathlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["LARGE_PAGE_BYTES", "LargeWrites"]

LARGE_PAGE_BYTES = 2 * 2**20


class LargeWrites(io.RawIOBase):
    """A new file to write to, from its beginning to its end.

    Args:
        path: Where; a file that stands there is overwritten.

    Raises:
        OSError: It cannot be opened; in `write` and `close`: it cannot be written.

    Note:
        Cost: at most 2 MiB of memory more than the largest piece written.

    Examples:
        >>> import tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "rows"
        >>> with LargeWrites(path) as file:
        ...     _ = file.write(b"oil "), file.write(b"prices")
        >>> path.read_bytes()
        b'oil prices'
    """

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self._file = path.open("wb")
        self._kept = bytearray()

    def writable(self) -> bool:
        """Say that this file can be written to.

        Returns:
            True.
        """
        return True

    def write(self, piece: ReadableBuffer, /) -> int:
        """Take bytes; pass on those that fill large pages.

        Args:
            piece: What comes next in the file.

        Returns:
            How many bytes were taken: all.
        """
        before = len(self._kept)
        self._kept += piece
        taken = len(self._kept) - before
        whole = len(self._kept) // LARGE_PAGE_BYTES * LARGE_PAGE_BYTES
        if whole:
            self._file.write(self._kept[:whole])
            del self._kept[:whole]
        return taken

    def close(self) -> None:
        """Write what is left, and close the file."""
        if self.closed:
            return
        try:
            with self._file:
                self._file.write(self._kept)
        finally:
            super().close()
