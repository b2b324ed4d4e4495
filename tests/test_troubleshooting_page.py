"""Proofs for the troubleshooting page: made from the data, and never stale."""

from __future__ import annotations

import pathlib

import pytest
import troubleshooting_page

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOOL = ROOT / "site_docs" / "_tools" / "troubleshooting_page.py"
PAGE = ROOT / "site_docs" / "troubleshooting.md"
DATA = ROOT / "distrinews" / "doctor" / "troubles.json"


def test_a_changed_cure_makes_the_page_stale() -> None:
    """Negative control."""
    page, data = PAGE.read_text("utf-8"), DATA.read_text("utf-8")
    assert troubleshooting_page.renewed_page(page, data) == page
    changed = data.replace("Print `sum(p.numel()", "Show `sum(p.numel()")
    assert changed != data
    assert troubleshooting_page.renewed_page(page, changed) != page


def test_what_is_written_by_hand_stays_and_its_headlines_reach_the_data() -> None:
    page, data = PAGE.read_text("utf-8"), DATA.read_text("utf-8")
    section = "## Brand new { #brand-new }\n\nWritten by hand.\n\n"
    longer = page.replace("## Settings", section + "## Settings", 1)
    new_data = troubleshooting_page.renewed_data(data, longer)
    assert '"slug": "brand-new"' in new_data
    assert section in troubleshooting_page.renewed_page(longer, new_data)


def test_what_a_merge_put_behind_the_generated_part_moves_up() -> None:
    page, data = PAGE.read_text("utf-8"), DATA.read_text("utf-8")
    section = "## Brand new { #brand-new }\n\nWritten by hand."
    made = troubleshooting_page.renewed_page(f"{page}\n{section}\n", data)
    assert made.index(section) < made.index(troubleshooting_page.START)
    assert made.rstrip().endswith(troubleshooting_page.END)
    assert troubleshooting_page.renewed_page(made, data) == made


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
    made = troubleshooting_page.renewed_page(
        page, troubleshooting_page.renewed_data(data, page)
    )
    entry = made.partition("{ #duplicate-gpu }")[2].partition("\n#### ")[0]
    assert ("Two on one.\n\nDuplicate GPU detected, really" in entry) is captured
    assert ("2031-05-06, torch 9.9.9, Linux" in entry) is captured
    assert ("lab run duplicate_gpu" in entry) is captured
    assert ("Not reproduced (needs two GPUs), source: " in entry) is not captured
