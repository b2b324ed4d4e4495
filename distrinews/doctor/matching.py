"""Find the trouble behind a pasted text, and say how sure that is.

Promise: plain rules from `troubles.json` decide, so that a program in JavaScript gives
the same answers. Where no rule matches, the entries with the nearest words are named
as "perhaps" and not as an answer.

Not here: the rules (`distrinews.doctor.catalogue`), the comparison of words
(`distrinews.doctor.nearest`).

Guide: troubleshooting.
"""

from __future__ import annotations

import codecs
import json
import pathlib
import re
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from distrinews.doctor.catalogue import Catalogue, OwnError, Rule, Trouble, read
from distrinews.errors import SettingsError

__all__ = ["Match", "describe", "match", "read_text"]

# The part of a log that is looked at: its beginning and its end.
MAX_CHARACTERS = 200_000
OWN_ERROR = re.compile(r"troubleshooting/#([a-z0-9-]+)")
# From which weight on we say so.
SURE = 85
LIKELY = 60
# How much of the text is shown as the reason.
SHOWN_CHARACTERS = 120
PASTE_ALL = (
    "A whole traceback tells more than its last line: paste it from the first line of\n"
    "the rank that failed first."
)


@dataclass(frozen=True)
class Match:
    """A trouble that a text shows.

    Attributes:
        entry: The trouble, or the library's own error.
        weight: How sure, 1 to 99.
        reason: The part of the text by which it was recognised.

    Examples:
        >>> match("Duplicate GPU detected : rank 1 and rank 0")[0].sure
        'sure'
    """

    entry: Trouble | OwnError
    weight: int
    reason: str

    @property
    def sure(self) -> str:
        """In words: "sure", "likely" or "a guess"."""
        if self.weight >= SURE:
            return "sure"
        return "likely" if self.weight >= LIKELY else "a guess"


def read_text(path: pathlib.Path | None) -> str:
    """Read the text to look at: UTF-8, or what Windows' PowerShell writes.

    Args:
        path: Where it is; None: it is pasted, or piped in.

    Returns:
        The text; what cannot be decoded is replaced.

    Raises:
        SettingsError: There is no such file.
    """
    if path is not None:
        try:
            return _decode(path.read_bytes())
        except OSError as error:
            raise SettingsError(
                f"{path} cannot be read: {error.strerror}.",
                why="there is no text to look at.",
                fix="python -m distrinews doctor match FILE, or paste into it.",
                page="settings",
            ) from None
    if sys.stdin.isatty():
        key = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"
        print(f"Paste the text, then a new line and {key}:", file=sys.stderr)
    return _decode(sys.stdin.buffer.read())


def _decode(text: bytes) -> str:
    # WHY UTF-16, too: the PowerShell that comes with Windows redirects into it.
    has_mark = text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    is_utf16 = (
        has_mark and text.count(0) > len(text) // 4
    )  # else it only begins like that
    return text.decode("utf-16" if is_utf16 else "utf-8-sig", errors="replace")


def match(text: str, *, catalogue: Catalogue | None = None) -> list[Match]:
    """Find the troubles that a text shows.

    Args:
        text: A traceback, a log, or a sentence about what is wrong. Of a very long one
            the first and the last 100,000 characters are read.
        catalogue: Where to look; None: the package's own.

    Returns:
        The surest first; empty if nothing is known about this text.

    Examples:
        >>> best = match("Default process group has not been initialized")[0]
        >>> best.entry.slug, best.sure
        ('group-not-initialized', 'sure')
        >>> match("ZeroDivisionError: division by zero")
        []
    """
    catalogue = catalogue or read()
    half = MAX_CHARACTERS // 2
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:half]}\n{text[-half:]}"
    for pattern, replacement in catalogue.tidy:
        text = re.sub(pattern, replacement, text)
    matches = [
        *_match_troubles(text, catalogue.troubles),
        *_match_own_errors(text, catalogue.own),
    ]
    # WHY stable: among equals the catalogue's order decides, in every language.
    return sorted(matches, key=lambda match: -match.weight)


def describe(
    matches: Sequence[Match],
    *,
    perhaps: Sequence[Trouble | OwnError] = (),
    as_json: bool = False,
) -> str:
    """Write the matches down, for a person or for a program.

    Args:
        matches: What `match` returned.
        perhaps: What `distrinews.doctor.nearest.nearest` returned; only named if there
            is no match.
        as_json: For a program.

    Returns:
        The text, without a final line end. Cause and cure of the best match, the names
        of the others; if there is none, the entries with the nearest words.

    Examples:
        >>> print(describe([]).splitlines()[0])
        Nothing in the catalogue matches this text.
    """
    if as_json:
        nearest = [] if matches else [_named(entry) for entry in perhaps]
        found = [_as_dict(match) for match in matches]
        return json.dumps({"matches": found, "perhaps": nearest}, indent=1)
    if not matches:
        lines = ["Nothing in the catalogue matches this text."]
        if perhaps:
            lines = ["No rule matches this text. Perhaps, by its words:"]
        for entry in perhaps:
            lines += [f"  {entry.title}", f"    {_page(entry)}"]
        return "\n".join((*lines, PASTE_ALL))
    best, *others = matches
    lines = [f"{best.entry.title}  ({best.sure}, {best.weight} of 100)"]
    parts = {"found": best.reason} | {
        name: getattr(best.entry, name, "") for name in ("cause", "cure", "prevention")
    }
    for name, text in parts.items():
        wrapped = textwrap.wrap(text, 76) if text else []
        lines += [f"  {name}:", *(f"    {line}" for line in wrapped)] if wrapped else []
    lab = getattr(best.entry, "lab", None)
    if lab:
        lines.append(f"  try it: python -m distrinews lab run {lab}")
    lines.append(f"  more: {_page(best.entry)}")
    if others:
        names = ", ".join(f"#{match.entry.slug} ({match.sure})" for match in others[:4])
        lines.append(f"  less likely: {names}")
    return "\n".join(lines)


def _as_dict(match: Match) -> dict[str, object]:
    record: dict[str, object] = {
        "sure": match.sure,
        "weight": match.weight,
        "found": match.reason,
    }
    return _named(match.entry) | record


def _named(entry: Trouble | OwnError) -> dict[str, object]:
    """An entry for a program: where it stands and what it says."""
    names = ("cause", "cure", "prevention", "lab")
    record = {"slug": entry.slug, "title": entry.title, "page": _page(entry)}
    return record | {name: getattr(entry, name, None) for name in names}


def _page(entry: Trouble | OwnError) -> str:
    """Its short address; the site leads on from there to the entry's own page."""
    return f"troubleshooting/#{entry.slug}"


def _match_troubles(text: str, troubles: Iterable[Trouble]) -> list[Match]:
    """Each trouble by its surest rule that holds."""
    matches = []
    for trouble in troubles:
        for rule in trouble.rules:
            reason = _matched_part(rule, text)
            if reason:
                matches.append(Match(trouble, rule.weight, reason))
                break
    return matches


def _matched_part(rule: Rule, text: str) -> str:
    """The part of the text that fulfils a rule, or an empty string."""
    if any(_search(pattern, text) for pattern in rule.none):
        return ""
    first, *others = rule.all
    for start in _compiled(first).finditer(text):
        near = text
        if rule.within is not None:
            near = text[max(0, start.start() - rule.within) : start.end() + rule.within]
        if all(_search(pattern, near) for pattern in others):
            return text[start.start() :][:SHOWN_CHARACTERS].strip()
        if rule.within is None:
            break  # the whole text was looked at
    return ""


def _search(pattern: str, text: str) -> re.Match[str] | None:
    return _compiled(pattern).search(text)


def _compiled(pattern: str) -> re.Pattern[str]:
    # WHY ASCII: JavaScript's \b and \w know no other letters.
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


def _match_own_errors(text: str, own: Iterable[OwnError]) -> list[Match]:
    """The library's own errors say themselves where to read on."""
    anchors = {anchor.group(1): anchor for anchor in OWN_ERROR.finditer(text)}
    return [
        Match(error, error.weight, anchors[error.slug].group())
        for error in own
        if error.slug in anchors
    ]
