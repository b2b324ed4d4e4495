"""Checks of words and metadata: cards, headers, pages, the layout of files.

    python -m tests.lint              all of them
    python -m tests.lint cards pages  these modules only

Each prints what it found as `file:line: what is wrong`, all findings at once, and the
exit code is 1 if there was one. What a program does is no matter for this command: that
is proven by the tests. That each check finds its faults is shown by tests/test_lint.py.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Iterable, Iterator

__all__ = [
    "ROOT",
    "SITE",
    "Finding",
    "anchors",
    "at",
    "expect",
    "line_of",
    "lost_link",
    "words",
]

ROOT = pathlib.Path(__file__).resolve().parents[2]
SITE = ROOT / "site_docs"
# The folders of pytest's own `pythonpath`, and that of the tests' helpers.
for _folder in ("apps", "apps/space", "site_docs/_tools", "tests"):
    if str(ROOT / _folder) not in sys.path:
        sys.path.append(str(ROOT / _folder))


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
    """Something that is wrong, and where.

    Attributes:
        path: The file, from the repository's root.
        line: Counted from 1.
        what: What is wrong there.
    """

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def words(path: pathlib.Path) -> str:
    """A file's text."""
    return path.read_text(encoding="utf-8")


def line_of(text: str, part: str) -> int:
    """The line in which `part` begins; 1 if it does not occur."""
    return text[: max(text.find(part), 0)].count("\n") + 1


def at(path: pathlib.Path, what: str, *, near: str = "") -> Finding:
    """A finding in a file, on the line where `near` begins."""
    line = line_of(words(path), near) if near and path.is_file() else 1
    where = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path
    return Finding(str(where), line, what)


def expect(
    path: pathlib.Path, facts: Iterable[tuple[object, str]], *, near: str = ""
) -> Iterator[Finding]:
    """A finding for each fact that does not hold."""
    for holds, what in facts:
        if not holds:
            yield at(path, what, near=near)


@functools.cache
def anchors(page: pathlib.Path) -> set[str]:
    """The anchors of a page's headlines."""
    from helpers.site_sections import sections

    return set(sections(words(page)))


def lost_link(target: str) -> str:
    """What is wrong with a link to a page of the site; empty if nothing."""
    path, _, anchor = target.partition("#")
    page = SITE / path
    if not page.is_file():
        return f"no page {path}"
    lost = anchor and anchor not in anchors(page)
    return f"no {anchor} in {path}" if lost else ""
