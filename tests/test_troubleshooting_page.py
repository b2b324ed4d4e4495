"""Proofs for the troubleshooting pages: made from the data, and never stale."""

from __future__ import annotations

import json
import pathlib

import make_pages
import pytest
import troubleshooting_page

ROOT = pathlib.Path(__file__).resolve().parents[1]
FAMILIES = ROOT / "site_docs" / "troubleshooting"
LIBRARY = FAMILIES / "library.md"
DATA = ROOT / "distrinews" / "doctor" / "troubles.json"


def renewed(page: str) -> str:
    return make_pages.render(page, troubleshooting_page.BLOCKS)


def entry(made: str, slug: str) -> str:
    """An entry of a family's page."""
    return made.partition(f"{{ #{slug} }}")[2].partition("\n## ")[0]


def test_a_changed_cure_makes_its_page_stale() -> None:
    """Negative control."""
    data = DATA.read_text("utf-8")
    page = (FAMILIES / "slow.md").read_text("utf-8")
    assert troubleshooting_page.family_block("slow", data) in page
    changed = data.replace("splits the step", "splits each step")
    assert changed != data
    assert troubleshooting_page.family_block("slow", changed) not in page


@pytest.mark.parametrize("place", ["## Settings", ""])
def test_what_is_written_by_hand_stays_and_its_sections_reach_the_data(
    place: str,
) -> None:
    """Also what a merge put at the end."""
    page, data = LIBRARY.read_text("utf-8"), DATA.read_text("utf-8")
    section = "## Brand new { #brand-new }\n\nIt has\na [page](x.md).\n\nMore.\n\n"
    longer = page.replace(place, section + place, 1) if place else f"{page}\n{section}"
    made = json.loads(troubleshooting_page.renewed_data(data, longer))
    [new] = [own for own in made["own"] if own["slug"] == "brand-new"]
    assert (new["title"], new["about"]) == ("Brand new", "It has a page.")
    assert renewed(longer) == longer
    # Negative control: without the section there is no such entry.
    assert "brand-new" not in troubleshooting_page.renewed_data(data, page)


def test_a_trouble_that_moves_to_another_family_keeps_its_address() -> None:
    """An error message names the list's anchor; the list knows the page."""
    before = DATA.read_text("utf-8")
    moved = json.loads(before)
    [trouble] = [t for t in moved["troubles"] if t["slug"] == "duplicate-gpu"]
    assert trouble["group"] == "launch"
    trouble["group"] = "error"
    row = '<li class="t-row" id="duplicate-gpu"><a href="{}/#duplicate-gpu">'
    there = troubleshooting_page.entry_list(json.dumps(moved))
    assert row.format("error") in there
    assert row.format("launch") not in there
    assert row.format("launch") in troubleshooting_page.entry_list(before)


@pytest.mark.parametrize("captured", [True, False])
def test_real_output_is_shown_with_version_and_date_and_else_the_page_says_so(
    captured: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, data = LIBRARY.read_text("utf-8"), DATA.read_text("utf-8")
    labs = tmp_path / "labs"
    (labs / "captured").mkdir(parents=True)
    if captured:
        (labs / "duplicate_gpu.py").write_text('"""Two on one."""', encoding="utf-8")
        text = "# torch 9.9.9, Linux, 2031-05-06\nDuplicate GPU detected, really\n"
        (labs / "captured" / "duplicate_gpu.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr(troubleshooting_page, "LABS", labs)
    made = entry(
        troubleshooting_page.family_block(
            "launch", troubleshooting_page.renewed_data(data, page)
        ),
        "duplicate-gpu",
    )
    shown = "    Two on one.\n\n    Duplicate GPU detected, really"
    assert (shown in made) is captured
    # Folded, and below what to do about it.
    folded = '??? quote "Our run, 2031-05-06, torch 9.9.9, Linux"'
    assert (folded in made.partition("**Why.**")[2]) is captured
    assert ("lab run duplicate_gpu" in made) is captured
    assert ("Not reproduced (needs two GPUs). Sources: " in made) is not captured


def test_an_entry_leads_to_its_page_by_the_headline() -> None:
    data = DATA.read_text("utf-8")
    link = "[DDP inside](../understand/ddp-inside.md)"
    assert link in troubleshooting_page.family_block("error", data)
    # Negative control: a page that does not exist is refused, and named.
    damaged = data.replace('"understand/ddp-inside"', '"benchmarks/cpu"')
    with pytest.raises(FileNotFoundError, match="cpu"):
        troubleshooting_page.family_block("error", damaged)
