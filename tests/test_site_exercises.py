"""Proofs for the exercises' page: its picture shows real traces."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
