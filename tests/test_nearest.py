"""Proofs for doctor.nearest: a few words find their entry, nonsense finds none."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
from typing import Any

import pytest

from distrinews.doctor import catalogue
from distrinews.doctor.catalogue import Catalogue
from distrinews.doctor.matching import match
from distrinews.doctor.nearest import nearest

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = ROOT / "tests" / "data"
INPUTS = json.loads((DATA / "short_inputs.json").read_text("utf-8"))
TROUBLES = ROOT / "distrinews" / "doctor" / "troubles.json"
MODEL = ROOT / "site_docs" / "assets" / "widgets" / "nearest.model.js"


def answers(text: str) -> list[str]:
    """What `doctor match` names for a text, the best first."""
    found = [each.entry.slug for each in match(text)]
    return found or [entry.slug for entry in nearest(text)]


def unrelated() -> list[str]:
    path = DATA / "tracebacks" / "unrelated.json"
    return [each["text"] for each in json.loads(path.read_text("utf-8"))]


# --- The figures -----------------------------------------------------------------


@pytest.mark.parametrize("case", INPUTS["ten"], ids=lambda case: case["text"])
def test_each_of_ten_short_inputs_finds_its_entry(case: dict[str, str]) -> None:
    assert answers(case["text"])[:1] == [case["expect"]]


def test_nine_of_ten_other_short_inputs_find_theirs_among_the_first_three() -> None:
    cases = INPUTS["held_out"]
    assert len(cases) >= 20
    lost = [c for c in cases if c["expect"] not in answers(c["text"])[:3]]
    assert len(lost) <= 0.1 * len(cases), lost


def test_the_pages_figures_are_these() -> None:
    page = (ROOT / "site_docs" / "howto" / "doctor.md").read_text("utf-8")
    cases = [*INPUTS["ten"], *INPUTS["held_out"]]
    by_rules = [case for case in cases if match(case["text"])]
    assert [c for c in cases if answers(c["text"])[:1] != [c["expect"]]] == []
    others = len(cases) - len(by_rules)
    by_words = f"and word search finds those of the other {others}."
    says = f"entries of {len(by_rules)} of them, {by_words}"
    assert says in " ".join(page.split())


@pytest.mark.parametrize("text", INPUTS["nonsense"])
def test_nonsense_finds_nothing(text: str) -> None:
    assert answers(text) == []


def test_unrelated_tracebacks_find_nothing_by_their_words() -> None:
    found = [text for text in unrelated() if not match(text) and nearest(text)]
    assert len(found) <= 0.02 * len(unrelated()), found


def test_without_the_words_of_its_entry_an_input_finds_nothing() -> None:
    """Negative control: the answers come from the entries."""
    content = json.loads(TROUBLES.read_text("utf-8"))
    content["own"] = []
    for trouble in content["troubles"]:
        trouble["also"] = []
        for part in ("title", "symptom", "cause", "cure", "prevention"):
            trouble[part] = "nothing"
        trouble["slug"] = f"t{trouble['number']}"
    empty = Catalogue.model_validate(content)
    for case in (*INPUTS["ten"], *INPUTS["held_out"]):
        assert nearest(case["text"], catalogue=empty) == []


# --- The rules -------------------------------------------------------------------


def test_at_most_three_are_named_and_more_than_25_words_name_none() -> None:
    assert len(nearest("hang")) == 3
    words = "training hangs after validation"
    assert nearest(words)
    assert nearest(f"{words} {' '.join(f'word{i}' for i in range(22))}") == []


def test_a_rare_word_counts_more_than_a_frequent_one() -> None:
    # Both are in the catalogue; "rank" stands in most entries, "libuv" in one.
    assert nearest("rank libuv")[0].slug == "no-libuv-on-windows"


def test_forms_of_a_word_and_words_of_the_same_meaning_find_the_same() -> None:
    want = nearest("hang early stopping")
    assert want[0].slug == "early-stop-on-one-rank"
    for text in ("hangs early stop", "hanging, early stopped", "deadlock early stop"):
        assert nearest(text) == want, text


def test_every_word_that_means_another_means_one_that_the_catalogue_has() -> None:
    known = catalogue.read()
    for word, meant in known.words.same.items():
        assert nearest(meant), word


# --- The same in JavaScript --------------------------------------------------------

JAVASCRIPT = r"""
import fs from "node:fs";
import { finder } from "./nearest.model.mjs";
const [catalogue, texts] = process.argv.slice(2).map(
  (path) => JSON.parse(fs.readFileSync(path, "utf-8")));
const nearest = finder(catalogue);
console.log(JSON.stringify(texts.map((text) => nearest(text).map((one) => one.slug))));
"""


def texts() -> list[str]:
    known = catalogue.read()
    cases: list[dict[str, Any]] = [*INPUTS["ten"], *INPUTS["held_out"]]
    return [
        *(case["text"] for case in cases),
        *INPUTS["nonsense"],
        *(trouble.title for trouble in known.troubles),
        *(trouble.symptom for trouble in known.troubles),
        *(own.title for own in known.own),
        *unrelated(),
    ]


@pytest.mark.slow
def test_the_box_on_the_site_names_the_same_entries(tmp_path: pathlib.Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    # What the box reads, and not the catalogue: it holds less.
    data = ROOT / "site_docs" / "assets" / "widgets" / "data" / "troubles.json"
    (tmp_path / "texts.json").write_text(json.dumps(texts()), encoding="utf-8")
    (tmp_path / "nearest.mjs").write_text(JAVASCRIPT, encoding="utf-8")
    shutil.copy(MODEL, tmp_path / "nearest.model.mjs")
    done = subprocess.run(
        (node, str(tmp_path / "nearest.mjs"), str(data), str(tmp_path / "texts.json")),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    here = [[entry.slug for entry in nearest(text)] for text in texts()]
    assert json.loads(done.stdout) == here
    assert sum(map(bool, here)) >= 100  # the guard: there was something to compare
