"""Proofs for the learner's path: one list of pages, and minutes that are counted."""

from __future__ import annotations

from pathlib import Path

import numbers_path
import pytest
import reading_time
from lint import course, words

ROOT = Path(__file__).resolve().parents[1]


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
