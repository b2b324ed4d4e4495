"""Proofs for doctor.catalogue: the catalogue is complete, and names real things."""

from __future__ import annotations

import functools
import importlib
import json
import pathlib
import re
from typing import Any

import pytest
from pydantic import ValidationError

from distrinews.doctor import catalogue
from distrinews.doctor.catalogue import Catalogue

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILE = ROOT / "distrinews" / "doctor" / "troubles.json"
# `module.name` or `torch.a.b`, as the texts write them in backticks.
CODE = re.compile(r"`([^`]+)`")
OURS = re.compile(r"(?<![.\w])([a-z_]+)\.([A-Za-z_]+)\b")
TORCH = re.compile(r"\b(?:torch|torch_dist)(?:\.[A-Za-z_0-9]+)+")
# What the texts write before a dot that is no module of ours: a reader's variables,
# and other packages. torch's names are looked up by TORCH.
THEIRS = {
    *("autograd", "datasets", "mp", "os", "torch", "torch_dist", "x"),
    *("ddp_model", "loss", "model", "p", "param", "ranks", "sampler", "scaler"),
}
# A page's anchor where our code names one.
PAGE = re.compile(r"""page=\(?\s*["']([^"'#/]+)["']""")


def raw() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def test_all_69_troubles_are_there_once_each() -> None:
    known = catalogue.read()
    assert [trouble.number for trouble in known.troubles] == list(range(1, 70))
    assert {trouble.group for trouble in known.troubles} == set(known.groups)
    assert sum(trouble.silent for trouble in known.troubles) >= 14


@pytest.mark.parametrize("part", ["symptom", "cause", "cure", "prevention", "sources"])
def test_a_trouble_without_one_of_its_parts_is_refused(part: str) -> None:
    """Negative control: the test above would not notice an empty text."""
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


# --- Every anchor exists ---------------------------------------------------------


def anchors() -> set[str]:
    text = (ROOT / "site_docs" / "troubleshooting.md").read_text(encoding="utf-8")
    return set(re.findall(r"\{ #([a-z0-9-]+) \}", text))


def pages_named(folder: str) -> dict[str, str]:
    """Anchor -> a file that sends its readers there."""
    named = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for anchor in PAGE.findall(path.read_text(encoding="utf-8")):
            named[anchor] = str(path)
    return named


@pytest.mark.parametrize("folder", ["distrinews", "chapters", "apps"])
def test_every_page_that_an_error_names_exists(folder: str) -> None:
    missing = {a: f for a, f in pages_named(folder).items() if a not in anchors()}
    assert missing == {}


def test_the_search_for_pages_sees_something() -> None:
    """Negative control: an empty search would pass."""
    assert len(pages_named("distrinews")) >= 15
    assert "nonsense" not in anchors()
    assert PAGE.findall('page="no-such-entry"') == ["no-such-entry"]


def test_every_trouble_and_own_error_has_its_anchor() -> None:
    known = catalogue.read()
    slugs = {entry.slug for entry in (*known.own, *known.troubles)}
    assert slugs == anchors()


# --- The texts name real things --------------------------------------------------


def texts() -> list[tuple[str, str]]:
    return [
        (trouble.slug, text)
        for trouble in catalogue.read().troubles
        for text in (trouble.cause, trouble.cure, trouble.prevention)
    ]


@functools.cache
def our_modules() -> dict[str, list[str]]:
    """The last part of a dotted name -> modules and packages of ours that have it."""
    modules: dict[str, list[str]] = {}
    for path in sorted((ROOT / "distrinews").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        dotted = ".".join(parts).removesuffix(".__init__")
        modules.setdefault(dotted.rpartition(".")[2], []).append(dotted)
    return modules


def is_ours(module: str, name: str) -> bool:
    """Whether some module of ours with this short name has the name."""
    return any(
        hasattr(importlib.import_module(dotted), name)
        for dotted in our_modules()[module]
    )


def missing_names(text: str) -> set[str]:
    """What a text calls ours or torch's in backticks, and is not."""
    missing = set()
    for code in CODE.findall(text):
        for module, name in OURS.findall(code):
            # A path (`chapters/x.py`) or somebody else's `model.module` is no claim.
            if module in THEIRS or name in {"py", "json"}:
                continue
            if module not in our_modules() or not is_ours(module, name):
                missing.add(f"{module}.{name}")
        for dotted in TORCH.findall(code):
            names = dotted.replace("torch_dist", "torch.distributed").split(".")
            here: Any = importlib.import_module("torch")
            for number, name in enumerate(names[1:], start=2):
                if not hasattr(here, name):
                    try:
                        importlib.import_module(".".join(names[:number]))
                    except ImportError:
                        missing.add(dotted)
                        break
                here = getattr(here, name)
    return missing


def test_every_function_that_a_cure_names_exists() -> None:
    assert {(s, name) for s, text in texts() for name in missing_names(text)} == set()


def test_a_function_that_does_not_exist_would_be_seen() -> None:
    """Negative control."""
    assert missing_names("call `sync.average_everything()`") == {
        "sync.average_everything"
    }
    # A module that was renamed, under its old name and its new one.
    assert missing_names("`trace.recording`") == {"trace.recording"}
    assert missing_names("`recorder.recording` and `model.parameters()`") == set()
    assert missing_names("call `torch.nn.parallel.Wrong(x)`") == {
        "torch.nn.parallel.Wrong"
    }
    assert (
        missing_names("`sync.average_gradients` and `torch_dist.all_reduce`") == set()
    )


def test_sources_are_addresses_and_each_number_cites_one() -> None:
    for trouble in catalogue.read().troubles:
        for source in trouble.sources:
            assert re.fullmatch(r"https://[^\s]+[^.,\s]", source), source
