"""Repair the quirks that AG News' texts picked up on their way from web to file.

AG News is a harvest of news feeds. On the way the ampersand of every HTML entity
became a blank (`it #39;s`), line breaks became backslashes, and markup stayed behind
as `&lt;b&gt;`. A tokenizer turns that debris into tokens which say more about the
feed than about the news. `repair` gives back the text as its author wrote it.

Promise: repairing twice gives the same as repairing once, a text with letters never
becomes empty, and ordinary text (prices, `AT&T`, `C#`, `#1`) stays as it is.

Not here: which rows are read (`distrinews.data.sources`), tokens
(`distrinews.data.tokenised`).
Guide: reference/data.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["CLEANING_VERSION", "RULES", "Rule", "repair"]

CLEANING_VERSION = "1"  # part of every cache fingerprint: raise it with any new rule


class Rule(NamedTuple):
    """One quirk, how it is found, and what it becomes."""

    name: str
    substring: str  # WHY: `in` costs 1/20 of a search, and most rows lack most quirks
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]
    before: str  # an example, as it stands in the file
    after: str  # the same after the whole of `repair`


def _unescape(match: re.Match[str]) -> str:
    return html.unescape(f"&{match['entity']};")


# WHY a list and not all 2,125 names of HTML 5: `in;`, `part;`, `phone;` and `real;` are
# such names too, and real rows hold "it is real; it is". These names are the ones that
# occur in AG News, and the accented letters.
_NAMED_ENTITIES = (
    r"quot|amp|apos|lt|gt|nbsp|hellip|[mn]dash|[lr][sd]quo|bull|trade"
    r"|[A-Za-z](?:acute|grave|circ|uml|tilde|ring|cedil)|pound(?=;\d)"
)
# WHY from 32 on: below are control characters, which no feed writes, and "ranked #1;
# he" must stay. WHY two digits or x: a character number looks like #39 or #x2014.
_NUMERIC_ENTITIES = r"#0*(?:3[2-9]|[4-9]\d|[1-9]\d{2,4})|#x[0-9a-fA-F]{2,5}"
_TAG = r"(?:\\?&lt;[/!]?[A-Za-z](?:(?!&lt;).){0,500}?&gt;)+"

# WHY this order: a tag is found by its `&lt;`, so tags go before entities are decoded;
# `\$` goes before other backslashes, which become blanks; blanks are counted last.
RULES = (
    # WHY nothing before a comma or stop, a blank elsewhere: "Guidant</A>, the" must not
    # become "Guidant , the", and "Ltd.<A>7974" must not glue two words.
    Rule(
        "markup before punctuation",
        "&lt;",
        re.compile(rf"{_TAG}(?=[,.;:!?)'])", re.DOTALL),
        "",
        'Philips &lt;A HREF="http://x.com/?t=PHG"&gt;PHG.AS&lt;/A&gt;, the maker',
        "Philips PHG.AS, the maker",
    ),
    Rule(
        "markup",
        "&lt;",
        re.compile(_TAG, re.DOTALL),
        " ",
        "Siemens Award &lt;b&gt;...&lt;/b&gt; Aaron Goldin",
        "Siemens Award ... Aaron Goldin",
    ),
    # WHY: the file's writer put a backslash before each dollar sign, as shells need it.
    Rule(
        "escaped dollar",
        "\\$",
        re.compile(r"\\+\$"),
        "$",
        r"a US\$100m gift",
        "a US$100m gift",
    ),
    # WHY a blank: elsewhere a backslash stands for a line break between two words.
    Rule(
        "line break",
        "\\",
        re.compile(r"\\+"),
        " ",
        r"Wall Street's dwindling\band of bears",
        "Wall Street's dwindling band of bears",
    ),
    # WHY the blank goes too: it is what became of the `&`. The text's own blank, if
    # there was one, stands before it, so "said  quot;no quot; to" decodes exactly.
    Rule(
        "named character",
        ";",
        re.compile(rf"(?:^|[ &])(?P<entity>{_NAMED_ENTITIES});"),
        _unescape,
        "a  quot;road warrior quot; at AT amp;T",
        'a "road warrior" at AT&T',
    ),
    Rule(
        "numbered character",
        "#",
        re.compile(rf"(?:^|[ &])(?P<entity>{_NUMERIC_ENTITIES});"),
        _unescape,
        "Student #39;s Project Wins  #36;5",
        "Student's Project Wins $5",
    ),
    # WHY: where blanks are doubled says only which feed a row came from.
    Rule(
        "blanks",
        "",
        re.compile(r"\s{2,}|[^\S ]"),
        " ",
        " the  world's\tlargest ",
        "the world's largest",
    ),
)


def repair(text: str) -> str:
    r"""Give back a news text as its author wrote it.

    Args:
        text: One row's text, of any length.

    Returns:
        The text without the quirks in `RULES` and without blanks at its ends. Where
        that would leave nothing of a text with letters (a row that is a lone tag),
        the text with only its blanks repaired.

    Note:
        Cost: about 20 microseconds for a text of 230 characters; see `RULES` for what
        is done and in which order. A backslash in ordinary text (`C:\news`) is taken
        for a line break: in AG News it always is one.

    Examples:
        >>> repair("Oil #39;s climb:  #36;50 a barrel &lt;b&gt;...&lt;/b&gt;")
        "Oil's climb: $50 a barrel ..."
        >>> repair("AT&T is #1; C# costs $5")
        'AT&T is #1; C# costs $5'
    """
    # WHY until nothing changes: what one rule uncovers may be another quirk (` amp;lt;`
    # hides a `&lt;`), and a cache of repaired rows must equal the repair of its rows.
    # It ends: every rule removes a character or turns a backslash into a blank.
    before, after = "", text
    while after != before:
        before = after
        for rule in RULES:
            if rule.substring in after:
                after = rule.pattern.sub(rule.replacement, after)
        after = after.strip()
    if not after and any(map(str.isalnum, text)):
        return " ".join(text.split())
    return after
