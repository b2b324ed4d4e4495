"""Proofs for the reading check: every item of a deep answer stands on a page.

`tests/data/reading_check.json` lists, for each interview question, what a good answer
covers, the section that says it, and words of that section.
"""

from __future__ import annotations

import json
import pathlib
import re
import unicodedata

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
SITE = ROOT / "site_docs"
CHECK = json.loads((ROOT / "tests/data/reading_check.json").read_text("utf-8"))
NUM_QUESTIONS = 25

LINK = re.compile(r"\[([^]]*)\](?:\([^)]*\)|\[[^]]*\])")  # [words](page), [words][name]
HEADING = re.compile(r"#{1,6} +(?P<title>.*?)(?: *\{ *#(?P<id>[\w-]+) *\})?")


def slug(title: str) -> str:
    """The anchor that Python-Markdown's `toc` gives a headline, as MkDocs uses it."""
    text = LINK.sub(r"\1", title).replace("`", "")
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def sections(page: str) -> dict[str, str]:
    """What stands below each headline, up to the next one: words, without links."""
    lines_by_anchor: dict[str, list[str]] = {}
    here: list[str] = []
    fence = ""
    for line in page.splitlines():
        mark = re.match(r" *(`{3,})", line)
        if mark and (not fence or line.strip() == fence):
            fence = "" if fence else mark[1]
        title = None if fence else HEADING.fullmatch(line)
        if title is None:
            here.append(line)
            continue
        name, repeats = title["id"] or slug(title["title"]), 0
        while (anchor := f"{name}_{repeats}" if repeats else name) in lines_by_anchor:
            repeats += 1  # the second of the same name is name_1, as in MkDocs
        here = lines_by_anchor[anchor] = []
    text = {
        name: " ".join(" ".join(lines).split())
        for name, lines in lines_by_anchor.items()
    }
    return {name: LINK.sub(r"\1", words) for name, words in text.items()}


def lacking(item: dict[str, str]) -> str:
    """Why an item is not answered where the check says; empty if it is."""
    page, _, anchor = item["at"].partition("#")
    path = SITE / page
    if not path.is_file():
        return f"no page {page}"
    text_by_anchor = sections(path.read_text(encoding="utf-8"))
    if anchor not in text_by_anchor:
        return f"{page} has no #{anchor}"
    is_said = item["says"] in text_by_anchor[anchor]
    return "" if is_said else f"{item['at']} does not say {item['says']!r}"


@pytest.mark.parametrize("question", CHECK)
def test_each_item_of_a_deep_answer_stands_where_the_check_says(question: str) -> None:
    problems = [lacking(item) for item in CHECK[question]["items"]]
    assert [problem for problem in problems if problem] == []


def test_all_questions_are_there_and_none_is_empty() -> None:
    numbers = [str(number) for number in range(1, NUM_QUESTIONS + 1)]
    assert list(CHECK) == [*numbers, "extra"]
    assert min(len(question["items"]) for question in CHECK.values()) >= 2


@pytest.mark.parametrize(
    ("at", "says", "why"),
    [
        ("understand/nowhere.md#clipping", "norm", "no page"),
        ("understand/gradient-sync.md#clip", "norm", "has no #clip"),
        ("understand/gradient-sync.md#clipping", "sampler", "does not say"),
        # The words stand on the page, but under another headline:
        ("understand/gradient-sync.md#uneven-parts", "Clip *after*", "does not say"),
    ],
)
def test_a_missing_page_anchor_or_sentence_would_be_found(
    at: str, says: str, why: str
) -> None:
    """Negative control; the last one's words are found where they stand."""
    right = {"at": "understand/gradient-sync.md#clipping", "says": "Clip *after*"}
    assert lacking(right) == ""
    assert why in lacking({"at": at, "says": says})


def test_anchors_are_those_of_the_site_generator() -> None:
    toc = pytest.importorskip("markdown.extensions.toc")
    markdown = pytest.importorskip("markdown")
    page = "# A\n\n## Why `x`, and not y?\n\n## A: b - c\n\n## A\n\n## Zwölf { #own }\n"
    made = markdown.Markdown(extensions=[toc.TocExtension(), "attr_list"])
    made.convert(page)
    theirs = re.findall(r"'id': '([^']+)'", str(made.toc_tokens))
    assert list(sections(page)) == theirs
