"""A small file system of one's own, to fill or to spoil."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest


def mount_or_skip(folder: pathlib.Path, *, size: str) -> None:
    """Mount a new file system there; the caller unmounts it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this container may not mount")
