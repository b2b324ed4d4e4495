"""Proofs for the learner's path: its times are those of records."""

from __future__ import annotations

import json
from pathlib import Path

import numbers_path
import pytest

ROOT = Path(__file__).resolve().parents[1]
CAPTURED = ROOT / "site_docs" / "learn" / "captured"


def test_the_computers_times_are_those_of_the_captured_runs() -> None:
    record = json.loads((CAPTURED / "06_ddp_benchmark.json").read_text("utf-8"))
    step = record["steps"]["06_ddp_benchmark"]
    busy = ", on a busy machine" if step["others_share"] > 0.05 else ""
    assert f"| {step['seconds']:.0f} s{busy} |\n" in numbers_path.path_day()
    # Two labs say 8 s and 4 s, an exercise 4 s.
    assert "| labs: about 12 s |" in numbers_path.path_hour()
    assert "| checks: about 4 s, each time |" in numbers_path.path_hour()


def test_what_nobody_captured_has_no_time() -> None:
    """Negative control."""
    with pytest.raises(SystemExit, match="nothing was captured as 07_dreams"):
        numbers_path._computer_time(
            numbers_path.Step("1 min", "dream", runs=("07_dreams",))
        )
    assert (
        numbers_path._computer_time(numbers_path.Step("1 min", "think"))
        == "not measured"
    )
