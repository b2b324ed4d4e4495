"""Proof that every measurement holds for its whole length: five rounds, default model.

Minutes each, so `.ci/endurance benchmarks` runs them; short forms with the preset tiny
are in test_benchmark_runs.py, test_length_balance.py and test_peers.py.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from distrinews.bench import results

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.mark.endurance
@pytest.mark.timeout(3700)
@pytest.mark.parametrize("what", ["averaging", "balance", "limit", "peers", "trace"])
def test_five_rounds_end_with_a_record_of_five_rounds(
    what: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / f"{what}.json"
    words = ("-m", "distrinews", "benchmark", what, "--num-rounds", "5")
    done = subprocess.run(
        [sys.executable, *words, "--json", str(path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)  # with -s: the table
    record = results.read(path, kind=what)
    assert record["settings"]["num_rounds"] == 5
    assert record["figures"]
