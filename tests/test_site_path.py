"""Proofs for the learner's path: its plans add up, its times are those of records."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distrinews import exercise_sheets, lab_sheets

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "site_docs" / "start" / "path.md"
CAPTURED = ROOT / "site_docs" / "learn" / "captured"


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(ROOT / "site_docs" / "_tools"))
    yield __import__("numbers_path")
    sys.modules.pop("numbers_path")


def test_an_hour_has_sixty_minutes_and_a_day_eight_hours(path: Any) -> None:
    for steps, minutes in ((path.HOUR, 60), (path.DAY, 480)):
        assert sum(int(step.plan.removesuffix(" min")) for step in steps) == minutes
    assert [step.plan for step in path.WEEK] == [f"Day {n}" for n in range(1, 8)]


def test_the_computers_times_are_those_of_the_captured_runs(path: Any) -> None:
    told = json.loads((CAPTURED / "06_ddp_benchmark.json").read_text("utf-8"))
    step = told["steps"]["06_ddp_benchmark"]
    busy = ", on a busy machine" if step["others_share"] > 0.05 else ""
    assert f"| {step['seconds']:.0f} s{busy} |\n" in path.path_day()
    # Two labs say 8 s and 4 s, an exercise 4 s.
    assert "| labs: about 12 s |" in path.path_hour()
    assert "| checks: about 4 s, each time |" in path.path_hour()


def test_what_nobody_captured_has_no_time(path: Any) -> None:
    """Negative control."""
    with pytest.raises(SystemExit, match="nothing was captured as 07_dreams"):
        path._needs(path.Step("1 min", "dream", runs=("07_dreams",)))
    assert path._needs(path.Step("1 min", "think")) == "not measured"


def test_the_page_leads_three_readers_and_names_only_what_exists(path: Any) -> None:
    text = PAGE.read_text("utf-8")
    for reader in (
        "### I have an interview in a week",
        "### I have to train on Kaggle",
        "### I want to understand everything",
        "## Short of time: what to skip",
    ):
        assert reader in text
    steps = (*path.HOUR, *path.DAY, *path.WEEK, *path.KAGGLE)
    assert {lab for one in steps for lab in one.labs} <= set(lab_sheets.names())
    named = {name for one in steps for name in one.exercises}
    assert named <= set(exercise_sheets.names())
    links = re.findall(r"\]\(([^)#]+\.md)", text)
    assert len(links) > 30
    assert all((PAGE.parent / link).resolve().is_file() for link in links)
    for chapter in range(1, 7):
        assert f"[chapter {chapter:02}]" in text
