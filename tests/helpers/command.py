"""Run a command of this checkout in a folder of its own, as a user would."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

__all__ = ["call"]

ROOT = pathlib.Path(__file__).resolve().parents[2]


def call(
    *words: object, folder: pathlib.Path, expect: int = 0, timeout_s: float = 220
) -> subprocess.CompletedProcess[str]:
    """Run `python WORDS`; fail with all its output unless the exit code is `expect`."""
    done = subprocess.run(
        [sys.executable, *(str(word) for word in words)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done
