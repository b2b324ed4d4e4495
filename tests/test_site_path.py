"""Proofs for the learner's path: its times are those of records, its pages one list."""

from __future__ import annotations

import json
from pathlib import Path

import numbers_path
import pytest
import reading_time
from lint import course, words

ROOT = Path(__file__).resolve().parents[1]
CAPTURED = ROOT / "site_docs" / "learn" / "captured"


def test_the_computers_times_are_those_of_the_captured_runs() -> None:
    record = json.loads((CAPTURED / "06_ddp_benchmark.json").read_text("utf-8"))
    step = record["steps"]["06_ddp_benchmark"]
    busy = ", on a busy machine" if step["others_share"] > 0.05 else ""
    table = numbers_path.path_steps()
    assert f"| {step['seconds']:.0f} s{busy} |\n" in table
    # Two labs say 4 s each, two exercises 4 s each.
    assert "labs: about 8 s; checks: about 8 s, each time |" in table


def test_what_nobody_captured_has_no_time() -> None:
    """Negative control."""
    with pytest.raises(SystemExit, match="nothing was captured as 07_dreams"):
        numbers_path._computer_time(
            numbers_path.Step("dream", "[a](b.md)", runs=("07_dreams",))
        )
    assert (
        numbers_path._computer_time(numbers_path.Step("think", "[a](b.md)"))
        == "not measured"
    )


def test_the_sites_list_of_the_path_is_that_of_its_table() -> None:
    listed = course.listed_path(words(ROOT / "mkdocs.yml"))
    assert listed == numbers_path.spine()
    assert list(course.path_faults(listed, listed, minutes=360)) == []


@pytest.mark.parametrize(
    ("listed", "minutes", "says"),
    [
        (["a.md"], 10, r"differ: \['b.md'\]"),
        (["b.md", "a.md"], 10, "in their order"),
        (["a.md", "b.md"], 361, "more than 6 hours"),
    ],
)
def test_a_path_that_forks_or_takes_too_long_is_found(
    listed: list[str], minutes: float, says: str
) -> None:
    """Negative control."""
    faults = course.path_faults(listed, ["a.md", "b.md"], minutes)
    with pytest.raises(AssertionError, match=says):
        assert not list(faults)


def test_minutes_are_those_of_the_words_in_sight() -> None:
    words_in_sight = "word " * 440
    page = f"---\na: b\n---\n# {words_in_sight}\n\n```sh\nls -l\n```\n"
    page += '\n??? info "Why"\n\n    Folded text.\n\n    - and more\n'
    page += "\n<!-- a marker -->\n![](x.png)\n[ ](https://example.org)\n| --- | --- |\n"
    time = reading_time.of_page(page)
    assert time == (440, 5)
    assert time.minutes == 2
    # Negative control: what is not indented stands in sight.
    assert reading_time.of_page(page + "\nOne more.\n").num_open == 442
