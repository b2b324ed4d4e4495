"""Proof that killed runs lose nothing. For more kills: `python -m tests.chaos`."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers.chapters import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows"),
]


def test_twenty_kills_lose_no_checkpoint_and_leave_no_process() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--kills", "20"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=880, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\nkill ") + done.stdout.startswith("kill ") == 20
    assert "20 kills" in done.stdout.splitlines()[-1]
