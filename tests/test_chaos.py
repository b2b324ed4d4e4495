"""Proof that killed runs lose nothing: each kind of kill once, with three ranks.

`.ci/endurance kills-2 kills-3 kills-4`: 70 kills with each number of ranks.
"""

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


def test_kills_lose_no_checkpoint_and_leave_no_process() -> None:
    num_ranks, num_kills = 3, 4
    command = [sys.executable, "-m", "tests.chaos", "--kills", str(num_kills)]
    command += ["--num-ranks", str(num_ranks)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=880, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("kill ") for line in lines) == num_kills
    assert f"{num_ranks} ranks: {num_kills} kills" in lines[-1]
