"""Proofs for the set-up page: its small commands work.

That something runs each of the others: `python -m tests.lint pages`.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

RUN_HERE = {
    "python3 --version": [sys.executable, "--version"],
    "git --version": ["git", "--version"],
    "source .venv/bin/activate": [
        *("bash", "-c"),
        f"source {sys.prefix}/bin/activate && command -v python",
    ],
}


@pytest.mark.skipif(sys.platform == "win32", reason="the page's Linux tabs")
@pytest.mark.parametrize("command", RUN_HERE)
def test_the_small_commands_work(command: str) -> None:
    done = subprocess.run(RUN_HERE[command], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
