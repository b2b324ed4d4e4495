"""Proofs for doctor.catalogue: what is not complete is refused.

What its texts and pages name: `python -m tests.lint pages`.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest
from pydantic import ValidationError

from distrinews.doctor import catalogue
from distrinews.doctor.catalogue import Catalogue

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILE = ROOT / "distrinews" / "doctor" / "troubles.json"


def raw() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


@pytest.mark.parametrize("part", ["symptom", "cause", "cure", "prevention", "sources"])
def test_a_trouble_without_one_of_its_parts_is_refused(part: str) -> None:
    """Negative control: no list of numbers would notice an empty text."""
    damaged = raw()
    damaged["troubles"][3][part] = [] if part == "sources" else ""
    with pytest.raises(ValidationError, match=part):
        Catalogue.model_validate(damaged)


def test_two_entries_with_one_anchor_are_refused() -> None:
    damaged = raw()
    damaged["own"][0]["slug"] = damaged["troubles"][5]["slug"]
    with pytest.raises(ValidationError, match="stand twice"):
        Catalogue.model_validate(damaged)


def test_reproduced_without_output_is_refused() -> None:
    damaged = raw()
    [claimed] = [t for t in damaged["troubles"] if t["slug"] == "duplicate-gpu"]
    claimed["reproduced"] = True
    with pytest.raises(ValidationError, match="output was captured"):
        Catalogue.model_validate(damaged)


def test_the_catalogue_cannot_be_changed_by_its_users() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        catalogue.read().troubles[0].cure = "pray"  # type: ignore[misc]
