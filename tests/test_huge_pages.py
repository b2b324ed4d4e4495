"""Proofs for data.huge_pages: nothing is lost, and the system can map it so."""

from __future__ import annotations

import errno
import itertools
import os
import random
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from distrinews.data.huge_pages import HUGE_PAGE_BYTES, HugePageWriter

pytestmark = pytest.mark.timeout(60)
SIZE = 8 * HUGE_PAGE_BYTES + 12_345


def chunks(seed: int) -> list[bytes]:
    """Bytes in chunks of all sizes, some larger than a page."""
    rng, whole = random.Random(seed), random.Random(seed + 1).randbytes(SIZE)
    largest = HUGE_PAGE_BYTES * 3 // 2
    cuts = sorted({0, SIZE, *(rng.randrange(SIZE) for _ in range(30))})
    pairs = itertools.pairwise([*cuts, SIZE + largest])
    return [whole[a:b] for a, b in pairs]


@pytest.mark.parametrize("seed", range(3))
def test_the_file_holds_what_was_written(tmp_path: Path, seed: int) -> None:
    with HugePageWriter(tmp_path / "file") as file:
        num_written = [file.write(chunk) for chunk in chunks(seed)]
    assert num_written == [len(chunk) for chunk in chunks(seed)]
    assert (tmp_path / "file").read_bytes() == b"".join(chunks(seed))
    assert b"".join(chunks(seed)) != b"".join(chunks(seed + 1))  # negative control


def test_bytes_reach_the_file_in_whole_large_pages(tmp_path: Path) -> None:
    file = HugePageWriter(tmp_path / "file")
    for chunk in chunks(0):
        file.write(chunk)
        assert (tmp_path / "file").stat().st_size % HUGE_PAGE_BYTES == 0
    file.close()
    assert (tmp_path / "file").stat().st_size == SIZE  # the rest, at the end


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_a_full_disk_is_an_error_and_the_file_is_closed() -> None:
    full = os.strerror(errno.ENOSPC)
    with pytest.raises(OSError, match=full), HugePageWriter(Path("/dev/full")) as file:
        file.write(bytes(100))  # kept; the error comes when it is written, at the end
    assert file.closed
    assert file._file.closed


def mapped_huge(path: Path) -> int:
    """Bytes of a file that this process has mapped in large pages."""
    view = np.frombuffer(pa.memory_map(str(path)).read_buffer(), np.uint8)
    view[::4096].sum()  # look at every page
    num_bytes, counts = 0, False
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        if line[:1].islower() or line[:1].isdigit():
            counts = line.endswith(str(path))
        elif line.startswith("FilePmdMapped:"):
            num_bytes += counts * int(line.split()[1]) * 1024
    del view
    return num_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how it maps")
def test_the_system_maps_it_in_large_pages_where_it_can(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    with small.open("wb", buffering=0) as plain, HugePageWriter(large) as file:
        for _ in range(SIZE // 70_001):
            plain.write(bytes(70_001))
            file.write(bytes(70_001))
    num_bytes = mapped_huge(large)
    if num_bytes == 0:
        pytest.skip("this system or its file system maps files in small pages only")
    assert num_bytes > SIZE / 2
    assert mapped_huge(small) == 0  # negative control
