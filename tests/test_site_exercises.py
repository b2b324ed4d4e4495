"""Proofs for the exercises' page: its table is whole, its picture shows real traces."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from distrinews.course.sheets import ExerciseSheet, exercise_names

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "site_docs" / "learn" / "exercises.md"


@pytest.fixture
def pictures() -> Any:
    return importlib.import_module("exercise_pictures")


def events(traces: dict[str, Any], ending: str) -> dict[str, list[Any]]:
    [title] = [title for title in traces["events"] if title.endswith(ending)]
    events_by_rank: dict[str, list[Any]] = traces["events"][title]
    return events_by_rank


def begun_during_backward(rank_events: list[Any]) -> int:
    [end] = [end for _, name, _, end in rank_events if name == "backward"]
    return sum(start < end for kind, _, start, _ in rank_events if kind == "collective")


def test_the_table_has_a_row_for_every_exercise_with_its_target() -> None:
    text = PAGE.read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == len(exercise_names()) >= 20
    for name, row in zip(exercise_names(), rows, strict=True):
        sheet = ExerciseSheet.read(name)
        assert row.startswith(f"| `{name}`, {sheet.fields['Level']} | [")
        assert sheet.title.rstrip(".") in row
        assert sheet.fields["Target"] in row
        assert f"(../{sheet.fields['Concept']}.md)" in row


def test_what_is_rejected_on_the_page_is_what_stands_above_it() -> None:
    folder = ROOT / "site_docs" / "learn" / "captured"
    rejected = (folder / "exercise_rejected.txt").read_text("utf-8")
    passed = (folder / "exercise_passed.txt").read_text("utf-8")
    means = [4.0, (1 + 3) / 2, (2 + 2 + 6 + 0 + 6) / 5]
    assert f"rejected: {sum(means) / 3:.3f} is not the mean" in rejected
    assert "exercise hint mean_over_all_rows\n" in rejected
    assert "NAME" not in rejected
    assert "passed: mean_over_all_rows" in passed


def test_ours_overlaps_in_the_picture_and_the_rejected_one_does_not(
    pictures: Any,
) -> None:
    traces = json.loads(pictures.TRACES.read_text("utf-8"))
    for rank in ("0", "1"):
        assert begun_during_backward(events(traces, "passed")[rank]) == 8
        assert begun_during_backward(events(traces, "rejected")[rank]) == 0


def test_the_picture_is_drawn_from_the_traces_as_they_are(
    pictures: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [svg] = pictures.files().values()
    assert pictures.PICTURE.read_text("utf-8") == svg
    assert pictures.stale() == []
    drawn = ElementTree.fromstring(pictures.PICTURE.read_text("utf-8"))
    width = float(drawn.attrib["viewBox"].split()[2])
    bars = drawn.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 2 * 2 * (2 + 8)  # forward, backward, eight all-reduces
    for bar in bars:
        assert 0 <= float(bar.attrib["x"]) < width
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width
    # Negative control: another trace, another script.
    traces = json.loads(pictures.TRACES.read_text("utf-8"))
    events(traces, "passed")["0"][0][2] += 1.0
    traces["scripts"][pictures.CHECK] = "0" * 64
    changed = tmp_path / "traces.json"
    changed.write_text(json.dumps(traces), encoding="utf-8")
    monkeypatch.setattr(pictures, "TRACES", changed)
    assert len(pictures.stale()) == 1
    assert pictures.files()[pictures.PICTURE] != svg
