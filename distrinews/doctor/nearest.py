"""Find the entries whose words are nearest to a few typed words.

A reader types "NCCL timeout" or "training hangs after validation": no message, so no
rule of the catalogue matches. Here the typed words are looked up in the entries. Rare
words count more, and words of a headline count more than words of a cure. Of a text
whose words are mostly unknown to the catalogue nothing is said.

Not here: rules on messages (`distrinews.doctor.matching`).

Guide: troubleshooting.
"""

from __future__ import annotations

import math
import re
from collections import Counter

from distrinews.doctor.catalogue import Catalogue, OwnError, Trouble, read

__all__ = ["nearest"]

MAX_ENTRIES = 3
# A whole traceback is no description: its words are file names and code.
MAX_WORDS = 25
# How much of the typed words, by their rarity, an entry has to hold.
MIN_PERCENT = 55
# A word counts by the place where the entry holds it.
IN_TITLE, IN_SYMPTOM, IN_TEXT = 3, 2, 1
SUFFIXES = ("ing", "ed", "es", "s")
MIN_STEM = 3


def nearest(
    text: str, *, catalogue: Catalogue | None = None
) -> list[Trouble | OwnError]:
    """Find at most three entries that hold most of the words of a short text.

    Args:
        text: A few words, as typed into a search box.
        catalogue: Where to look; None: the package's own.

    Returns:
        The nearest first; empty if no entry holds enough of the words, or if there are
        more than 25 different words.

    Examples:
        >>> nearest("NCCL timeout")[0].slug
        'watchdog-timeout'
        >>> nearest("how do I bake a pizza")
        []
    """
    catalogue = catalogue or read()
    ignored = {_stem(word) for word in catalogue.words.ignored}
    same = {_stem(word): _stem(meant) for word, meant in catalogue.words.same.items()}

    def stems(text: str) -> list[str]:
        """The different words of a text that are not ignored, in order."""
        found = map(_stem, re.findall(r"[a-z0-9]+", text.lower()))
        return list(dict.fromkeys(same.get(s, s) for s in found if s not in ignored))

    entries: list[Trouble | OwnError] = [*catalogue.troubles, *catalogue.own]
    places = [
        {stem: place for place, part in _parts(entry) for stem in stems(part)}
        for entry in entries
    ]
    asked = stems(text)
    if not asked or len(asked) > MAX_WORDS:
        return []
    num_holding = Counter(stem for place in places for stem in place)
    # Integers of square roots: JavaScript must get the same numbers, and floats that
    # are added up, or logarithms, would differ in their last bits.
    rarity = {
        stem: int(1000 * math.sqrt(len(entries) / max(1, num_holding[stem])))
        for stem in asked
    }
    least = MIN_PERCENT * sum(rarity.values())
    scores = []
    for entry, place in zip(entries, places, strict=True):
        held = [stem for stem in asked if stem in place]
        holds_enough = 100 * sum(rarity[stem] for stem in held) >= least
        if holds_enough and any(place[stem] > IN_TEXT for stem in held):
            scores.append((sum(rarity[stem] * place[stem] for stem in held), entry))
    # Stable: among equals the catalogue's order decides, in every language.
    scores.sort(key=lambda pair: -pair[0])
    return [entry for _, entry in scores[:MAX_ENTRIES]]


def _parts(entry: Trouble | OwnError) -> list[tuple[int, str]]:
    """The texts of an entry by their weight, the lightest first."""
    if isinstance(entry, OwnError):
        return [(IN_TEXT, entry.about), (IN_TITLE, f"{entry.slug} {entry.title}")]
    return [
        (IN_TEXT, f"{entry.cause} {entry.cure} {entry.prevention}"),
        (IN_SYMPTOM, entry.symptom),
        (IN_TITLE, " ".join((entry.slug, entry.title, *entry.also))),
    ]


def _stem(word: str) -> str:
    """Cut what most often differs between forms of a word: hangs, hanging, hanged."""
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= MIN_STEM:
            word = word.removesuffix(suffix)
            break
    if word.endswith("e") and len(word) > MIN_STEM:
        word = word[:-1]
    if len(word) > MIN_STEM and word[-1] == word[-2]:
        word = word[:-1]
    return word
