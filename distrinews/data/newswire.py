"""Write made-up news agency stories in four classes, any number of them.

`story` answers "which story is row 17 of the training split?" without writing rows
0 to 16 first: a row is a pure function of its index, the seed, the split and
`GENERATOR_VERSION`. `stories` streams such rows in flat memory, from one thousand
to one million. The sentences were written for this project; companies, agencies
and events are invented, people appear as roles ("the striker").

How a story is made: the label follows from the index, then a topic of that label, a
hand-written frame of that topic (`headline || lead`), and words for the frame's
slots. The frames live beside this file in `newswire*.toml`:
`{city}` picks from a list and keeps its pick for the whole story, `{city.2}` picks
another one, `[rose|fell]` picks on the spot, `{#3-40}` is a number.

Two splits never share a text, whatever the seeds: a checksum of the text itself
decides which split may use it. They do share frames, so a score on the test split
says how well a model learned these frames, not how well it reads other news.

Not here: tokens and files (`distrinews.data.tokenised`), class names
(`distrinews.data.labels`).
Guide: reference/newswire.
"""

from __future__ import annotations

import random
import re
import tomllib
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import resources
from itertools import permutations
from typing import Any, NamedTuple

from distrinews.data.labels import LABEL_NAMES, Row
from distrinews.errors import DataError

__all__ = [
    "AMBIGUOUS_RATE",
    "GENERATOR_VERSION",
    "HARD_CASE_RATE",
    "stories",
    "story",
]

GENERATOR_VERSION = "1"  # part of every cache fingerprint: raise it with any new text
HARD_CASE_RATE = 0.15  # share of cross-topic stories, e.g. a club's finances
AMBIGUOUS_RATE = 0.05  # part of the above: two classes claim the story equally

_MIN_WORDS, _MAX_WORDS = 8, 60

# WHY a checksum and not separate frames: every text belongs to one split forever,
# so no seed can leak a test row into training. 3 of 4 texts are training texts
# because a training split is usually the larger one and a refused text costs time.
_SPLIT_SHARES = {"train": (0, 1, 2), "test": (3,)}  # crc32(text) % 4

_FILES = ("", "_world", "_sports", "_business", "_scitech", "_hard")
_ORDERS = tuple(permutations(range(len(LABEL_NAMES))))  # 24 orders of the labels
_MARKUP = re.compile(r"(\[|\]|\||\{[^}]*\})")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeioAEIO](?!nc?e\b|ne-|u)|8|11\b|18\b|under)")
_SMALL_WORDS = {"a", "an", "and", "as", "at", "but", "by", "for", "from", "in", "of"}
_SMALL_WORDS |= {"on", "or", "the", "to", "with"}


def story(index: int, *, seed: int, split: str) -> Row:
    """Write one row, without writing the rows before it.

    Each block of four consecutive rows (0-3, 4-7, ...) holds every label once, in
    an order that changes from block to block.

    Args:
        index: Row number, 0 or larger.
        seed: Another seed gives another data set.
        split: "train" or "test".

    Returns:
        The text (8 to 60 words) and its label.

    Raises:
        DataError: A negative index or an unknown split.

    Examples:
        >>> story(3, seed=0, split="train") == story(3, seed=0, split="train")
        True
        >>> sorted(story(i, seed=0, split="train").label for i in range(4))
        [0, 1, 2, 3]
    """
    _check(index, "index", split)
    grammar = _grammar()
    key = f"newswire {GENERATOR_VERSION} {seed} {split}"
    order = _ORDERS[zlib.crc32(f"{key} {index // 4}".encode()) % len(_ORDERS)]
    label = order[index % 4]
    # WHY a string seed: random.Random hashes it with SHA-512, not with hash(), so the
    # stream is the same on every platform and PYTHONHASHSEED. Of its methods only
    # random() is promised to stay the same between Python versions.
    draw = random.Random(f"{key} row {index}").random
    shares = _SPLIT_SHARES[split]
    while True:
        text = _generate(grammar, label, draw)
        if zlib.crc32(text.encode()) % 4 not in shares:
            continue
        if _MIN_WORDS <= text.count(" ") + 1 <= _MAX_WORDS:
            return Row(text, label)


def stories(num_rows: int, *, seed: int, split: str, start: int = 0) -> Iterator[Row]:
    """Stream rows `start` to `start + num_rows - 1`, one at a time.

    Args:
        num_rows: How many rows, 0 or more.
        seed: Another seed gives another data set.
        split: "train" or "test".
        start: First row number.

    Returns:
        An iterator over the rows; it keeps none of them.

    Raises:
        DataError: A negative number or an unknown split; raised by this call, not
            by the first `next`.

    Examples:
        >>> [row.label for row in stories(4, seed=0, split="test")] == [
        ...     story(i, seed=0, split="test").label for i in range(4)
        ... ]
        True
    """
    _check(num_rows, "num_rows", split)
    _check(start, "start", split)
    return (story(i, seed=seed, split=split) for i in range(start, start + num_rows))


def _check(number: int, name: str, split: str) -> None:
    if number < 0:
        raise DataError(
            f"{name} is {number}.",
            why="rows are counted from 0; a negative count would give no data.",
            fix=f"pass {name}=0 or more.",
            page="bad-data",
        )
    if split not in _SPLIT_SHARES:
        raise DataError(
            f"split is {split!r}; newswire knows {sorted(_SPLIT_SHARES)}.",
            why="the split decides which texts may be used; there is no default.",
            fix='pass split="train" or split="test".',
            page="bad-data",
        )


# --- How a frame becomes a text ----------------------------------------------------


class _Choice(NamedTuple):
    """Alternatives. With a name, the pick is kept for the rest of the story."""

    name: str  # "" for [a|b], "city" or "city.2" for a list
    base: str  # "city" for "city.2"
    options: Sequence[_Parts]


class _Number(NamedTuple):
    """A number between two bounds, kept so that headline and lead agree."""

    name: str  # "#3-40"
    low: float
    high: float
    decimals: int


_Parts = tuple["str | _Choice | _Number", ...]
_Frame = tuple[_Parts, _Parts]  # headline, lead


class _Grammar(NamedTuple):
    topics: dict[tuple[str, int], list[list[_Frame]]]  # (kind, label) -> topics
    layout: _Parts  # where headline, dateline, agency and lead go
    datelines: list[_Parts]  # one for each label
    tails: list[_Parts]  # closing sentences, one choice for each label


def _generate(grammar: _Grammar, label: int, draw: Callable[[], float]) -> str:
    chance = draw()
    kind = "ambiguous" if chance < AMBIGUOUS_RATE else "hard"
    kind = kind if chance < HARD_CASE_RATE else "plain"
    topics = grammar.topics[kind, label]
    frames = topics[int(draw() * len(topics))]
    headline, lead = frames[int(draw() * len(frames))]
    memo: dict[str, str] = {}
    words = _expand(headline, draw, memo).split()
    title = " ".join(w if w in _SMALL_WORDS else _capitalise(w) for w in words)
    memo["head"] = _capitalise(title)
    memo["lead"] = _capitalise(_expand(lead, draw, memo))
    memo["dateline"] = _expand(grammar.datelines[label], draw, memo)
    memo["tail"] = _expand(grammar.tails[label], draw, memo)
    text = _expand(grammar.layout, draw, memo)
    return _ARTICLE.sub(r"\1n ", " ".join(text.split()))


def _expand(parts: _Parts, draw: Callable[[], float], memo: dict[str, str]) -> str:
    out = ""
    for part in parts:
        if isinstance(part, str):
            out += part
        elif part.name in memo:
            out += memo[part.name]
        elif isinstance(part, _Number):
            value = part.low + draw() * (part.high - part.low)
            out += memo.setdefault(part.name, f"{value:,.{part.decimals}f}")
        else:
            name, base, options = part
            index = int(draw() * len(options))
            word = _expand(options[index], draw, memo)
            # "{country} and {country.2}" must name two countries.
            if name != base and word == memo.get(base):
                word = _expand(options[index - 1], draw, memo)
            if name:
                memo[name] = word
            out += word
    return out


def _capitalise(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- Reading the frames ------------------------------------------------------------


@cache
def _grammar() -> _Grammar:
    """Read `newswire*.toml` once for each process."""
    lists: dict[str, str] = {}
    topic_tables: list[dict[str, Any]] = []
    for suffix in _FILES:
        path = resources.files(__package__) / f"newswire{suffix}.toml"
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        lists |= table.get("lists", {})
        topic_tables += table.get("topics", [])
    parse = _MarkupParser(lists).parse
    topics: dict[tuple[str, int], list[list[_Frame]]] = {}
    for topic in topic_tables:
        frames: list[_Frame] = []
        for line in topic["frames"].strip().splitlines():
            headline, lead = line.split(" || ")
            frames.append((parse(headline), parse(lead)))
        for name in topic["labels"]:
            key = topic.get("kind", "plain"), LABEL_NAMES.index(name)
            # A topic of weight 3 stands in the list three times.
            topics.setdefault(key, []).extend([frames] * topic.get("weight", 1))
    datelines = [parse(f"{{dateline_{label}}}") for label in range(4)]
    tails = [parse(f"{{tail_{label}}}") for label in range(4)]
    return _Grammar(topics, parse("{layout}"), datelines, tails)


class _MarkupParser:
    """Parse markup into parts, each word list once however often it is used."""

    def __init__(self, lists: dict[str, str]) -> None:
        self.lists = lists
        self.options: dict[str, Sequence[_Parts]] = {}

    def parse(self, text: str) -> _Parts:
        """Read one text, e.g. "Oil [rose|fell] {#1-9} percent"."""
        return self.alternatives(text)[0]

    def alternatives(self, text: str) -> Sequence[_Parts]:
        """Read "a|b|c"."""
        levels: list[list[_Parts]] = [[()]]  # one level for each open bracket
        for token in filter(None, _MARKUP.split(text)):
            if token == "|":
                levels[-1].append(())
            elif token == "[":
                levels.append([()])
            elif token == "]":
                options = levels.pop()
                levels[-1][-1] += (_Choice("", "", options),)
            else:
                levels[-1][-1] += (self.slot(token) if token[0] == "{" else token,)
        return levels[0]

    def slot(self, token: str) -> _Choice | _Number:
        """Read "{#3-40}", "{city}" or "{city.2}"."""
        name = token[1:-1]
        if name[0] == "#":
            low, high = name[1:].split("-")
            return _Number(name, float(low), float(high), len(low.partition(".")[2]))
        base = name.partition(".")[0]
        if base not in self.options:
            self.options[base] = self.alternatives(self.lists[base])
        return _Choice(name, base, self.options[base])
