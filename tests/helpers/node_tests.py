"""Proofs in JavaScript, run by node."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess

import pytest

__all__ = ["num_passed"]


def num_passed(path: pathlib.Path) -> int:
    """Run a file's tests, or skip where there is no node; how many passed, if all."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on this machine")
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", str(path)],
        capture_output=True,
        encoding="utf-8",
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    passed = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed
    return int(passed[1])
