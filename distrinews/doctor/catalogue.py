"""The catalogue of DDP's classic troubles: read from `troubles.json`, checked, frozen.

Promise: what `read` returns is complete. Every trouble has a symptom, a cause, a cure,
a way to prevent it, its sources, and rules by which a pasted text is recognised; a
page and a matching program in another language can be made from the same file.

Not here: recognising a text (`distrinews.doctor.matching`,
`distrinews.doctor.nearest`), looking at this machine
(`distrinews.doctor.examination`), the page
(`site_docs/_tools/troubleshooting_page.py`).

Guide: troubleshooting.
"""

from __future__ import annotations

import functools
import importlib.resources
import re

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Captured", "Catalogue", "OwnError", "Rule", "Trouble", "Words", "read"]

FILE = "troubles.json"
SLUG = r"^[a-z0-9]+(-[a-z0-9]+)*$"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rule(_Frozen):
    """One way to recognise a trouble in a text.

    Attributes:
        weight: How sure a match is, 1 to 99.
        all: Regular expressions; each must be found. Case does not count. Only what
            Python and JavaScript read alike is allowed.
        none: Regular expressions; none of them may be found anywhere in the text.
        within: The others must be found at most this many characters away from the
            first; None: anywhere.

    Examples:
        >>> Rule(weight=90, all=("Duplicate GPU",)).within is None
        True
    """

    weight: int = Field(gt=0, lt=100)
    all: tuple[str, ...] = Field(min_length=1)
    none: tuple[str, ...] = ()
    within: int | None = Field(None, gt=0)


class Captured(_Frozen):
    """What a lab printed when it was run.

    Attributes:
        text: Its output, word for word.
        origin: Versions and system that it was captured with.
        date: Day of the run, YYYY-MM-DD.

    Examples:
        >>> Captured(text="hung", origin="torch 2.13.0", date="2026-11-24").text
        'hung'
    """

    text: str = Field(min_length=1)
    origin: str = Field(min_length=1)
    date: str = Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")


class Trouble(_Frozen):
    """One classic trouble.

    Attributes:
        slug: Its anchor in the troubleshooting page.
        number: Its number, which no other trouble has.
        title: A headline.
        group: Key of `Catalogue.groups`.
        silent: Nothing is raised: only a number, or the time, is wrong.
        symptom: What people paste or say.
        also: Other words that people type when they look for it.
        cause: Why it happens.
        cure: What to type or to change.
        prevention: How not to meet it again.
        concept: The page that explains what is behind it.
        lab: Name of the lab that breaks it on purpose, or None.
        reproduced: Whether our own run shows it.
        why_not_reproduced: What a run would need that we do not have, or None.
        captured: Our own run's output, or None.
        rules: How it is recognised, the surest first.
        sources: Addresses of threads and documents.

    Examples:
        >>> read().trouble("duplicate-gpu").number
        10
    """

    slug: str = Field(pattern=SLUG)
    number: int = Field(gt=0)
    title: str = Field(min_length=1, max_length=80)
    group: str
    silent: bool
    symptom: str = Field(min_length=1)
    also: tuple[str, ...] = ()
    cause: str = Field(min_length=1)
    cure: str = Field(min_length=1)
    prevention: str = Field(min_length=1)
    concept: str = Field(min_length=1)
    lab: str | None = None
    reproduced: bool
    why_not_reproduced: str | None = None
    captured: Captured | None = None
    rules: tuple[Rule, ...] = Field(min_length=1, alias="patterns")
    sources: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _reproduced_means_captured(self) -> Trouble:
        if self.reproduced != (self.captured is not None):
            raise ValueError(f"{self.slug}: reproduced means that output was captured")
        return self


class OwnError(_Frozen):
    """An error of this library, by the anchor that its message ends with.

    Attributes:
        slug: The anchor.
        title: The section's headline.
        weight: How sure its message names the cause. Low where it only reports that
            some rank failed: what that rank said is worth more.
        about: The first sentences below the headline, as plain text.

    Examples:
        >>> [error.weight for error in read().own if error.slug == "batch-size"]
        [95]
    """

    slug: str = Field(pattern=SLUG)
    title: str = Field(min_length=1)
    weight: int = Field(95, gt=0, lt=100)
    about: str = ""


class Words(_Frozen):
    """How words of people are compared with words of entries.

    Attributes:
        ignored: Words that say nothing about a trouble.
        same: Word -> the word of the catalogue that means the same.

    Examples:
        >>> read().words.same["stuck"]
        'hang'
    """

    ignored: tuple[str, ...] = ()
    same: dict[str, str] = {}


class Catalogue(_Frozen):
    """Everything in the file.

    Attributes:
        version: The file's schema.
        tidy: Pairs (regular expression, replacement), applied in order to a text before
            any rule looks at it.
        words: How words are compared where no rule matches.
        groups: Key -> headline; its first word names the group in short.
        own: The library's own errors.
        troubles: The classic ones.

    Examples:
        >>> len(read().troubles) >= 68
        True
    """

    version: str = Field("distrinews/troubles/1", alias="schema")
    tidy: tuple[tuple[str, str], ...]
    words: Words = Words()
    groups: dict[str, str]
    own: tuple[OwnError, ...]
    troubles: tuple[Trouble, ...]

    @model_validator(mode="after")
    def _is_consistent(self) -> Catalogue:
        slugs = [e.slug for e in self.own] + [e.slug for e in self.troubles]
        duplicates = sorted({slug for slug in slugs if slugs.count(slug) > 1})
        if duplicates:
            raise ValueError(f"anchors that stand twice: {duplicates}")
        for trouble in self.troubles:
            if trouble.group not in self.groups:
                raise ValueError(f"{trouble.slug}: no group {trouble.group!r}")
            for rule in trouble.rules:
                for pattern in (*rule.all, *rule.none):
                    re.compile(pattern)
        return self

    def trouble(self, slug: str) -> Trouble:
        """Find a trouble by its anchor.

        Args:
            slug: The anchor.

        Returns:
            The trouble.

        Raises:
            KeyError: There is none.

        Examples:
            >>> read().trouble("no-set-epoch").silent
            True
        """
        for trouble in self.troubles:
            if trouble.slug == slug:
                return trouble
        raise KeyError(slug)


@functools.cache
def read() -> Catalogue:
    """Read the catalogue that this package was installed with.

    Returns:
        The catalogue; the same object every time.

    Raises:
        ValidationError: The file no longer holds what it must (pydantic's error).

    Examples:
        >>> read() is read()
        True
    """
    file = importlib.resources.files(__package__) / FILE
    return Catalogue.model_validate_json(file.read_text(encoding="utf-8"))
