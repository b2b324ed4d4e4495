"""Proofs for the learner's path: its plans add up, its times are those of records."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numbers_path
import pytest

from distrinews.course import sheets

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "site_docs" / "start" / "path.md"
CAPTURED = ROOT / "site_docs" / "learn" / "captured"


def test_an_hour_has_sixty_minutes_and_a_day_eight_hours() -> None:
    for steps, minutes in ((numbers_path.HOUR, 60), (numbers_path.DAY, 480)):
        assert sum(int(step.plan.removesuffix(" min")) for step in steps) == minutes
    assert [step.plan for step in numbers_path.WEEK] == [
        f"Day {n}" for n in range(1, 8)
    ]


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


def test_the_page_leads_three_readers_and_names_only_what_exists() -> None:
    text = PAGE.read_text("utf-8")
    for reader in (
        "### I have an interview in a week",
        "### I have to train on Kaggle",
        "### I want to understand everything",
        "## Short of time: what to skip",
    ):
        assert reader in text
    steps = (
        *numbers_path.HOUR,
        *numbers_path.DAY,
        *numbers_path.WEEK,
        *numbers_path.KAGGLE,
    )
    assert {lab for step in steps for lab in step.labs} <= set(sheets.lab_names())
    named = {name for step in steps for name in step.exercises}
    assert named <= set(sheets.exercise_names())
    links = re.findall(r"\]\(([^)#]+\.md)", text)
    assert len(links) > 30
    assert all((PAGE.parent / link).resolve().is_file() for link in links)
    for chapter in range(1, 7):
        assert f"[chapter {chapter:02}]" in text
