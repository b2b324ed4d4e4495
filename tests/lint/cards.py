"""The interview: complete cards that can be said aloud, and answers that pages give."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import string
from collections.abc import Iterator

from helpers.site_sections import sections

from distrinews.course import interview_cards, sheets
from distrinews.course.interview_cards import Card

from . import ROOT, SITE, Finding, at, expect, lost_link, words

# The 25 questions that the project's notes list -> the card that asks each.
NOTED = {
    "walk through a step": "step",
    "DDP or DataParallel": "data-parallel",
    "why gradients and not parameters": "gradients-not-weights",
    "average or sum": "mean-or-sum",
    "cost of a ring": "ring",
    "buckets": "buckets",
    "replicas start and stay equal": "replicas",
    "DistributedSampler": "sampler",
    "effective batch, learning rate": "global-batch",
    "accumulation": "accumulation",
    "find_unused_parameters, static_graph": "unused",
    "a job hangs": "hang",
    "the same order": "order",
    "barrier": "barrier",
    "rank, local_rank, torchrun": "ranks",
    "nccl, gloo, MPI": "backends",
    "checkpoint": "checkpoint",
    "accuracy, F1, AUC": "metrics",
    "randomness": "randomness",
    "BatchNorm": "batchnorm",
    "mixed precision": "amp",
    "clipping": "clipping",
    "two GPUs give 1.3x": "efficiency",
    "when DDP is not enough": "enough",
    "uneven inputs, elastic": "uneven",
}
SENIORS = ("by-hand", "hooks", "bucket-view", "compile", "local-sgd")
# What laboratories ask beyond the plain loop.
LABORATORIES = (
    *("gather-gradient", "several-backwards", "handles", "abort", "resume-bits"),
    *("optimizer-in-backward", "sum-precision", "ema", "loader-state", "zero-1"),
)
# Digits that may be typed on a card -> why. All others are names of numbers in braces.
TYPED = {
    r"`[^`]*\b[a-zA-Z]\w*[^`]*`": "code and formulas: N, p, m stand for the number",
    r"\b[Rr]ank 0\b|\brank 1\b": "a rank's name",
    r"\b(25|1) MiB\b": "torch's own default sizes of buckets",
    r"\b(torch|Python|version) \d\.\d+": "a version",
    r"\b(fp|bf|float)(16|32|64)\b": "a number type",
    r"\b(T4|A100|F1|Llama 3|exitcode 1)\b": "a name",
    r"\bZeRO-1 and 2\b|\bZeRO-[123]\b": "a name",
}
TEXTS = ("title", "question", "short", "deep", "follow_up", "follow_up_answer")
ANSWERS = ROOT / "tests" / "data" / "reading_check.json"


def raw_cards() -> list[Card]:
    """All cards, with the names of their numbers in braces."""
    return [card for group in interview_cards.read(raw=True) for card in group.cards]


def on_card(card: Card, what: str) -> Finding:
    """A finding at a card's place in its file."""
    id_line = f'id = "{card.id}"'
    for name in interview_cards.GROUPS:
        path = interview_cards.HERE / f"interview_{name}.toml"
        if id_line in words(path):
            return at(path, f"card {card.id}: {what}", near=id_line)
    return at(interview_cards.HERE, f"card {card.id}: {what}")


def typed_digits(text: str) -> list[str]:
    """Words with digits that somebody typed on a card, but for the names above."""
    text = re.sub(r"\{\w+\}", "", text)
    for pattern in TYPED:
        text = re.sub(pattern, "", text)
    return re.findall(r"\S*\d\S*", text)


def card_faults(card: Card) -> Iterator[str]:
    """What keeps a card from being complete, and from being said aloud."""
    whole = " ".join(getattr(card, name) for name in (*TEXTS, "number"))
    num_sentences = len(re.findall(r"[.?!](?=\s|$)", card.short))
    for holds, what in (
        (all(getattr(card, f.name) for f in dataclasses.fields(card)), "an empty part"),
        (re.fullmatch(r"[a-z][a-z0-9-]+", card.id), "an id that is no anchor"),
        (2 <= num_sentences <= 4, f"a short answer of {num_sentences} sentences"),
        (len(card.short.split()) <= 95, "a short answer of over half a minute"),
        (70 <= len(card.deep.split()) <= 220, "a deep answer too short or too long"),
        (whole.isascii(), "a letter that not every console shows"),
        # They become titles on the site.
        ('"' not in card.question + card.follow_up, "a quotation mark in a question"),
        ("{" in card.number, "no number in braces"),
    ):
        if not holds:
            yield what
    for name in (*TEXTS, "number"):
        if digits := typed_digits(getattr(card, name)):
            yield f"typed digits {digits} in {name}: compute them"
    if lost := lost_link(card.page):
        yield lost
    if not proven_by(card.proof):
        yield f"{card.proof} does not exist"


def proven_by(proof: str) -> bool:
    """Whether a test or lab exists."""
    path, _, test = proof.partition("::")
    if not test:
        kind, _, name = proof.partition(" ")
        return kind == "lab" and name in sheets.lab_names()
    file = ROOT / path
    return file.is_file() and test in {
        node.name
        for node in ast.walk(ast.parse(words(file)))
        if isinstance(node, ast.FunctionDef)
    }


def check_cards() -> Iterator[Finding]:
    for card in raw_cards():
        for what in card_faults(card):
            yield on_card(card, what)


def check_the_set_of_cards() -> Iterator[Finding]:
    raw = raw_cards()
    groups = interview_cards.read()
    ids = {card.id for group in groups for card in group.cards}
    asked = set(NOTED.values()) | {*SENIORS, *LABORATORIES}
    levels = {card.level for card in raw}
    text = "\n".join(getattr(card, name) for card in raw for name in (*TEXTS, "number"))
    unused = [pattern for pattern in TYPED if not re.search(pattern, text)]
    yield from expect(
        interview_cards.HERE / "interview_cards.py",
        (
            (len(raw) == len(ids) >= 60, "fewer than 60 cards, or an id twice"),
            (all(len(group.cards) >= 8 for group in groups), "a group of under 8"),
            (levels == set(interview_cards.LEVELS), "a level without cards"),
            ([g.name for g in groups] == list(interview_cards.GROUPS), "other groups"),
            (len(set(NOTED.values())) == 25, "not 25 questions are noted"),
            (asked <= ids, f"nobody asks {sorted(asked - ids)}"),
            (unused == [], f"exceptions for digits without a use: {unused}"),
        ),
    )


def check_the_names_of_numbers() -> Iterator[Finding]:
    known = set(interview_cards.numbers())
    used: set[str] = set()
    for card in raw_cards():
        for field in dataclasses.fields(card):
            parts = string.Formatter().parse(getattr(card, field.name))
            names = {name for _, name, _, _ in parts if name}
            used |= names
            if names - known:
                yield on_card(card, f"no number is called {sorted(names - known)}")
    for group in interview_cards.read():
        for card in group.cards:
            if any("{" in getattr(card, f.name) for f in dataclasses.fields(card)):
                yield on_card(card, "a brace that nothing fills")
    found_some = len(used) >= 100
    yield from expect(interview_cards.NUMBERS, ((found_some, "few numbers are used"),))


def lacking(item: dict[str, str]) -> str:
    """Why an item is not answered where the check says; empty if it is."""
    page, _, anchor = item["at"].partition("#")
    path = SITE / page
    if not path.is_file():
        return f"no page {page}"
    text_by_anchor = sections(words(path))
    if anchor not in text_by_anchor:
        return f"{page} has no #{anchor}"
    is_said = item["says"] in text_by_anchor[anchor]
    return "" if is_said else f"{item['at']} does not say {item['says']!r}"


def check_every_deep_answer_stands_on_a_page() -> Iterator[Finding]:
    """What a good answer covers, the section that says it, and words of it."""
    questions = json.loads(words(ANSWERS))
    yield from expect(
        ANSWERS,
        (
            (
                list(questions) == [*map(str, range(1, 26)), "extra"],
                "not the 25 questions and the extra ones",
            ),
            (
                min(len(question["items"]) for question in questions.values()) >= 2,
                "a question with under two items",
            ),
        ),
    )
    for question in questions.values():
        for item in question["items"]:
            if fault := lacking(item):
                yield at(
                    ANSWERS, fault, near=json.dumps(item["says"], ensure_ascii=False)
                )
