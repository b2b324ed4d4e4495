"""Proofs for doctor.matching: right on real texts, silent on unrelated ones."""

from __future__ import annotations

import functools
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from distrinews.doctor import catalogue, matching
from distrinews.doctor.catalogue import Catalogue
from distrinews.doctor.matching import match

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXTS = ROOT / "tests" / "data" / "tracebacks"
TROUBLES = ROOT / "distrinews" / "doctor" / "troubles.json"
CLI = (sys.executable, "-m", "distrinews", "doctor", "match")
# Troubles that a single command shows.
COMMANDS = sorted((ROOT / "site_docs" / "_tools" / "captured").glob("*.txt"))
# The part of both languages' regular expressions that means the same in both: letters,
# classes, repeats, alternatives, plain groups, \b, and these escapes.
ESCAPES = set("bsSdw.()[]{}*+?|\\/^$'\"`-<>@")


@functools.cache
def texts(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((TEXTS / name).read_text("utf-8"))
    return cases


def best(text: str) -> str | None:
    matches = match(text)
    return matches[0].entry.slug if matches else None


def wrong(name: str) -> list[tuple[str | None, str | None, str]]:
    """(expected, found, text) of each text that is not recognised rightly."""
    return [
        (each.get("expect"), best(each["text"]), each["text"][:100])
        for each in texts(name)
        if best(each["text"]) != each.get("expect")
    ]


# --- The figures -----------------------------------------------------------------


def test_at_least_90_percent_of_the_real_texts_find_their_entry() -> None:
    errors = wrong("known.json") + wrong("held_out.json")
    number = len(texts("known.json")) + len(texts("held_out.json"))
    assert number >= 60
    assert len(errors) <= 0.1 * number, errors
    assert len({each["expect"] for each in texts("known.json")}) >= 40
    assert all(each["source"].startswith("https://") for each in texts("known.json"))


def test_at_most_2_percent_of_unrelated_texts_are_taken_for_a_trouble() -> None:
    errors = wrong("unrelated.json")
    assert len(texts("unrelated.json")) >= 50
    assert len(errors) <= 0.02 * len(texts("unrelated.json")), errors


def test_texts_that_were_not_used_to_write_the_rules_are_recognised() -> None:
    """Gathered after the rules were written, and left as they are since."""
    assert len(texts("fresh.json")) >= 20
    assert len(wrong("fresh.json")) <= 0.1 * len(texts("fresh.json"))


def test_what_healthy_programs_print_is_not_taken_for_a_trouble() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    blocks = [b for b in readme.split("```")[1::2] if "accuracy" in b]
    assert blocks
    for block in blocks:
        assert match(block) == []


def captured() -> Iterator[tuple[str, str]]:
    for trouble in catalogue.read().troubles:
        if trouble.captured is not None:
            yield trouble.slug, trouble.captured.text


def test_every_labs_output_finds_its_entry() -> None:
    best_slugs = [(slug, best(text)) for slug, text in captured()]
    assert [each for each in best_slugs if each[0] != each[1]] == []
    labs = list((ROOT / "chapters" / "labs" / "captured").glob("*.txt"))
    assert len(best_slugs) == len(labs + COMMANDS), "run troubleshooting_page.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="commands of a Linux shell")
@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_captured_command_still_says_what_the_page_shows(path: pathlib.Path) -> None:
    command = re.findall(r"^\$ (.+)$", path.read_text("utf-8"), re.MULTILINE)[0]
    allowed = subprocess.run(("unshare", "--mount", "true"), check=False)
    if "unshare" in command and allowed.returncode != 0:
        pytest.skip("this container may not change its mounts")
    done = subprocess.run(
        ("bash", "-c", re.sub(r"(?<![-\w])python(?= )", sys.executable, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert best(done.stdout) == path.stem.replace("_", "-"), done.stdout


def test_a_labs_file_name_does_not_give_the_answer_away() -> None:
    """Negative control: the name in the traceback's paths is not what is recognised."""
    for slug, text in captured():
        name = slug.replace("-", "_")
        assert best(text.replace(name, "train").replace(slug, "x")) == slug


def test_the_pages_figures_are_these() -> None:
    page = (ROOT / "site_docs" / "howto" / "doctor.md").read_text("utf-8")
    page = " ".join(page.split())
    known, fresh, unrelated = (
        (len(texts(name)) - len(wrong(name)), len(texts(name)))
        for name in ("known.json", "fresh.json", "unrelated.json")
    )
    assert f"{known[0]} of {known[1]} texts that they were written with" in page
    assert f"{fresh[0]} of {fresh[1]} that were collected afterwards" in page
    assert f"{unrelated[1] - unrelated[0]} of {unrelated[1]} unrelated" in page


def test_without_its_rules_no_text_would_be_recognised() -> None:
    """Negative control: the figures come from the rules, not from the search."""
    content = json.loads(TROUBLES.read_text("utf-8"))
    for trouble in content["troubles"]:
        trouble["patterns"] = [{"weight": 90, "all": ["no text says this"]}]
    empty = Catalogue.model_validate(content)
    for each in texts("known.json"):
        assert match(each["text"], catalogue=empty) == []


def test_other_paths_versions_and_numbers_change_nothing() -> None:
    for each in texts("known.json"):
        text = (
            each["text"].replace("/opt/", "/srv/x/").replace("python3.11", "python3.14")
        )
        lines = [f"[rank3]: {line}" for line in text.splitlines()]
        assert best("\n".join(lines)) == each["expect"], each


# --- What it says ----------------------------------------------------------------


def test_the_summary_of_torchrun_gives_way_to_the_cause_inside_it() -> None:
    summary = "ChildFailedError: train.py FAILED exitcode : 1 error_file: <N/A>"
    assert best(summary) == "child-failed-error"
    cause = "RuntimeError: Expected to mark a variable ready only once."
    assert best(f"{cause}\n{summary}") == "marked-ready-twice"


def test_our_own_errors_lead_to_their_entry() -> None:
    own = "Error: 7 ranks.\n  why:  x\n  fix:  y\n  more: troubleshooting/#batch-size"
    assert best(own) == "batch-size"
    assert best(own.replace("batch-size", "no-such-entry")) is None
    wrapped = (
        "RuntimeError: Expected to mark a variable ready only once.\n"
        "A rank failed: rank 1 raised it.\n  more: troubleshooting/#rank-failed"
    )
    assert best(wrapped) == "marked-ready-twice"


def test_it_says_how_sure_it_is() -> None:
    levels = {
        "Duplicate GPU detected : rank 0 and rank 1": "sure",
        "two ranks are slower than one process": "likely",
        "multiprocessing.errors.ChildFailedError": "a guess",
    }
    for text, want in levels.items():
        assert match(text)[0].sure == want, text


def test_when_nothing_matches_it_says_so() -> None:
    assert match("") == []
    assert match("ZeroDivisionError: division by zero") == []
    assert "Nothing in the catalogue matches" in matching.describe([])


@pytest.mark.slow
def test_a_huge_log_is_searched_in_seconds_and_its_end_is_read() -> None:
    noise = "step 17 loss 0.25 rank 1 epoch 3 DDP gradient wait\n" * 200_000  # 10 MB
    began_s = time.monotonic()
    matches = match(noise + "RuntimeError: Duplicate GPU detected : rank 0 and rank 1")
    assert matches[0].entry.slug == "duplicate-gpu"
    assert time.monotonic() - began_s < 20


def call(text: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*CLI, *flags),
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )


def test_the_command_prints_the_cure_or_says_that_nothing_matches() -> None:
    known = call("RuntimeError: Distributed package doesn't have NCCL built in")
    assert known.returncode == 0
    assert "gloo" in known.stdout
    assert "more: troubleshooting/#no-nccl-built-in" in known.stdout
    unknown = call("ZeroDivisionError: division by zero")
    assert unknown.returncode == 1
    assert "Nothing in the catalogue matches" in unknown.stdout
    assert known.stderr == unknown.stderr == ""
    report = json.loads(call("Duplicate GPU detected", "--json").stdout)
    assert [each["slug"] for each in report["matches"]] == ["duplicate-gpu"]
    nothing = json.loads(call("flurble wobble", "--json").stdout)
    assert nothing == {"matches": [], "perhaps": []}


def test_where_no_rule_matches_the_command_names_what_is_near_as_perhaps() -> None:
    near = call("NCCL timeout")
    assert near.returncode == 1  # a guess by words is no answer
    assert near.stdout.startswith("No rule matches this text. Perhaps, by its words:\n")
    assert "troubleshooting/#watchdog-timeout" in near.stdout
    report = json.loads(call("NCCL timeout", "--json").stdout)
    assert report["matches"] == []
    assert report["perhaps"][0]["slug"] == "watchdog-timeout"
    # Negative control: where a rule matches, nothing is guessed.
    known = call("Duplicate GPU detected")
    assert "Perhaps" not in known.stdout


def test_the_text_may_be_a_file_and_a_missing_one_is_told(
    tmp_path: pathlib.Path,
) -> None:
    log = tmp_path / "log.txt"
    log.write_bytes(b"\xff\xfe no text \x00 Duplicate GPU detected : rank 0")
    assert "#duplicate-gpu" in call("", str(log)).stdout
    for encoding in ("utf-16", "utf-8-sig"):  # as PowerShell 5 writes, and editors do
        log.write_text("Duplicate GPU detected : rank 0", encoding=encoding)
        assert "#duplicate-gpu" in call("", str(log)).stdout, encoding
    missing = call("", str(tmp_path / "nowhere.txt"))
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "nowhere.txt cannot be read" in missing.stderr


def test_the_command_loads_no_torch() -> None:
    script = (
        "import sys, io\n"
        "from distrinews.cli import parser\n"
        "sys.stdin = io.TextIOWrapper(io.BytesIO(b'Duplicate GPU detected'))\n"
        "try: parser.run(['doctor', 'match'])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        (sys.executable, "-c", script),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    assert done.stdout.splitlines()[-1] == "False"


# --- The rules mean the same in JavaScript ---------------------------------------


def patterns() -> list[str]:
    known = catalogue.read()
    rules = [rule for trouble in known.troubles for rule in trouble.rules]
    regexes = [p for rule in rules for p in (*rule.all, *rule.none)]
    return [*regexes, *(pattern for pattern, _ in known.tidy)]


def foreign(pattern: str) -> list[str]:
    """What in a regular expression another language may read differently."""
    syntax = re.findall(r"\(\?(?!:)", pattern)  # look-around, named groups, flags
    syntax += re.findall(r"[*+?}]\+", pattern)  # possessive repeats
    escapes = re.findall(r"\\(u[0-9a-f]{4}|.)", pattern)
    syntax += [e for e in escapes if len(e) == 1 and e not in ESCAPES]
    # An opening brace that is no repeat is literal in one and an error in the other.
    plain = re.sub(r"\\.", "", pattern)
    syntax += re.findall(r"\{(?![0-9]+,?[0-9]*\})", plain)
    return syntax


def test_the_rules_keep_to_what_both_languages_read_alike() -> None:
    assert len(patterns()) >= 200
    assert {p: foreign(p) for p in patterns() if foreign(p)} == {}


def test_no_rule_is_satisfied_by_a_few_letters() -> None:
    short = [
        (trouble.slug, rule.all)
        for trouble in catalogue.read().troubles
        for rule in trouble.rules
        if sum(len(pattern) for pattern in rule.all) < 10
        or any(re.search(pattern, "") for pattern in rule.all)
    ]
    assert short == []


@pytest.mark.parametrize(
    "pattern",
    [
        "(?<=a)b",
        "(?P<name>a)",
        "(?i)a",
        "a++",
        "a{1,2}+",
        r"\Aa",
        r"a\Z",
        r"\x41",
        "a{b",
    ],
)
def test_a_rule_that_means_something_else_there_would_be_seen(pattern: str) -> None:
    """Negative control."""
    assert foreign(pattern)


# The module that the site's box uses.
MODEL = ROOT / "site_docs" / "assets" / "widgets" / "match.model.js"
JAVASCRIPT = r"""
import fs from "node:fs";
import { match } from "./match.model.mjs";
const [catalogue, texts] = process.argv.slice(2).map(
  (path) => JSON.parse(fs.readFileSync(path, "utf-8")));
const matches = texts.map((text) => match(text, catalogue));
console.log(JSON.stringify(
  matches.map((list) => list.map((m) => [m.entry.slug, m.weight, m.reason]))));
"""


def test_a_program_in_javascript_gives_the_same_answers(tmp_path: pathlib.Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    pasted = [
        each["text"]
        for name in ("known.json", "held_out.json", "fresh.json", "unrelated.json")
        for each in texts(name)
    ] + [text for _, text in captured()]
    (tmp_path / "texts.json").write_text(json.dumps(pasted), encoding="utf-8")
    (tmp_path / "match.mjs").write_text(JAVASCRIPT, encoding="utf-8")
    shutil.copy(MODEL, tmp_path / "match.model.mjs")
    done = subprocess.run(
        (
            node,
            str(tmp_path / "match.mjs"),
            str(TROUBLES),
            str(tmp_path / "texts.json"),
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    here = [
        [[m.entry.slug, m.weight, m.reason] for m in match(text)] for text in pasted
    ]
    assert json.loads(done.stdout) == here
