"""Proofs for the troubleshooting page: made from the data, and never stale."""

from __future__ import annotations

import pathlib

import make_pages
import pytest
import troubleshooting_page

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "site_docs" / "troubleshooting.md"
DATA = ROOT / "distrinews" / "doctor" / "troubles.json"


def renewed(page: str) -> str:
    return make_pages.render(page, troubleshooting_page.BLOCKS)


def test_a_changed_cure_makes_the_page_stale() -> None:
    """Negative control."""
    page, data = PAGE.read_text("utf-8"), DATA.read_text("utf-8")
    assert troubleshooting_page.catalogue_block(data) in page
    changed = data.replace("Print `sum(p.numel()", "Show `sum(p.numel()")
    assert changed != data
    assert troubleshooting_page.catalogue_block(changed) not in page


@pytest.mark.parametrize("place", ["## Settings", ""])
def test_what_is_written_by_hand_stays_and_its_headlines_reach_the_data(
    place: str,
) -> None:
    """Also what a merge put behind the generated part."""
    page, data = PAGE.read_text("utf-8"), DATA.read_text("utf-8")
    section = "## Brand new { #brand-new }\n\nWritten by hand.\n\n"
    longer = page.replace(place, section + place, 1) if place else page + section
    assert '"slug": "brand-new"' in troubleshooting_page.renewed_data(data, longer)
    assert renewed(longer) == longer
    # Negative control: a headline of the generated part is no error of our own.
    made = "## The classic troubles of DDP"
    assert made in page
    inside = page.replace(made, f"{section}{made}")
    assert '"slug": "brand-new"' not in troubleshooting_page.renewed_data(data, inside)


@pytest.mark.parametrize("captured", [True, False])
def test_real_output_is_shown_with_version_and_date_and_else_the_page_says_so(
    captured: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, data = PAGE.read_text("utf-8"), DATA.read_text("utf-8")
    labs = tmp_path / "labs"
    (labs / "captured").mkdir(parents=True)
    if captured:
        (labs / "duplicate_gpu.py").write_text('"""Two on one."""', encoding="utf-8")
        text = "# torch 9.9.9, Linux, 2031-05-06\nDuplicate GPU detected, really\n"
        (labs / "captured" / "duplicate_gpu.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr(troubleshooting_page, "LABS", labs)
    made = troubleshooting_page.catalogue_block(
        troubleshooting_page.renewed_data(data, page)
    )
    entry = made.partition("{ #duplicate-gpu }")[2].partition("\n#### ")[0]
    assert ("Two on one.\n\nDuplicate GPU detected, really" in entry) is captured
    assert ("2031-05-06, torch 9.9.9, Linux" in entry) is captured
    assert ("lab run duplicate_gpu" in entry) is captured
    assert ("Not reproduced (needs two GPUs), source: " in entry) is not captured
