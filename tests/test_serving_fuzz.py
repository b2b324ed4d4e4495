"""Proof of the contract: a fuzzer finds no answer that the schema does not declare.

The whole proof, 2,000 requests and more with each of three seeds, as published:
`.ci/endurance fuzz`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")
pytest.importorskip("httpx")

from helpers.served import Served

# On a busy machine the fuzzer takes four minutes.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEED = 20261124


def fuzz(
    url: str, *, num_examples: int, folder: Path, seed: int = SEED
) -> tuple[int, int, str]:
    """Let all phases run; return exit code, number of requests, what was printed."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
            *("--phases", "examples,coverage,fuzzing,stateful", "--checks", "all"),
            *("--max-examples", str(num_examples), "--seed", str(seed)),
            *("--generation-database", "none", "--continue-on-failure", "--no-color"),
        ],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=1000,
        cwd=folder,  # it leaves a folder of its own behind
        check=False,
    )
    match = re.search(r"(\d[\d,]*) generated", done.stdout)
    num_requests = int(match[1].replace(",", "")) if match else 0
    return done.returncode, num_requests, done.stdout + done.stderr


long = [pytest.mark.endurance, pytest.mark.timeout(1100)]


# Examples for each operation with a body; the other phases come on top. WHY few in CI:
# the endurance tier sends twenty times as many with each of three seeds.
@pytest.mark.parametrize(
    ("seed", "num_examples"),
    [(SEED, 50), *(pytest.param(seed, 1000, marks=long) for seed in (1, 2, 3))],
)
def test_a_fuzzer_finds_no_answer_that_is_not_declared(
    tmp_path: Path, seed: int, num_examples: int
) -> None:
    # WHY few: the fuzzer's own time to make a thousand texts would be most of it.
    served = Served(tmp_path, max_stream_texts=40)
    try:
        code, num_requests, output = fuzz(
            served.url, num_examples=num_examples, folder=tmp_path, seed=seed
        )
        assert code == 0, output
        assert num_requests > 2 * num_examples
        print(f"{num_requests} requests, no failure")  # with -s
        assert served.predict().status_code == 200
        assert '"status": 5' not in served.program.err
    finally:
        served.program.kill_everything()


def test_the_fuzzer_sees_a_server_that_fails(tmp_path: Path) -> None:
    """Negative control: a deadline that nobody can meet, so a 5xx to each text."""
    slow = Served(tmp_path, seconds=0.05, deadline_s=0.001, max_stream_texts=40)
    try:
        code, _, output = fuzz(slow.url, num_examples=5, folder=tmp_path)
        assert code == 1, output
        assert "Server error" in output
    finally:
        slow.program.kill_everything()
