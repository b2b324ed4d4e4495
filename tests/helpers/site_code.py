"""The code blocks of the site's pages: where each comes from, and whether it runs."""

from __future__ import annotations

import dataclasses
import doctest
import pathlib
import re

__all__ = ["Fence", "fences", "read", "run_examples"]

OPENING = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,}) ?(?P<info>.*)$")
MARKER = re.compile(
    r"^ *<!-- (source|numbers|from|all|reference|act|captured|diff|new|road|troubles"
    r"|self-check|interview)\b"
)
END = "<!-- end -->"


@dataclasses.dataclass(frozen=True)
class Fence:
    """A code block of a page."""

    page: str
    line: int  # of its opening
    language: str
    text: str
    made: bool  # it stands in a part of the page that a tool writes
    below: str  # the language of the fence right above, with at most a blank between

    @property
    def where(self) -> str:
        """For messages: page, line and language."""
        return f"{self.page}:{self.line} ({self.language or 'no language'})"

    @property
    def included(self) -> bool:
        """Whether all of it comes from a file, by `--8<--`."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        return bool(lines) and all(line.strip().startswith("--8<--") for line in lines)


def fences(text: str, *, page: str) -> list[Fence]:
    """Every code block of a page.

    Args:
        text: The page's Markdown.
        page: Its name, for messages.

    Returns:
        In the order of the page.
    """
    found: list[Fence] = []
    made, opened, above = False, None, ""
    body: list[str] = []
    start = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if opened is None:
            made = bool(MARKER.search(line)) or (made and END not in line)
            match = OPENING.match(line)
            if match:
                opened, start, body = match, number, []
            elif line.strip():
                above = ""
        elif line.strip() == opened["marks"]:
            language = opened["info"].strip("{ .").split(" ")[0]
            indent = len(opened["indent"])
            inner = "\n".join(one[indent:] for one in body)
            found.append(Fence(page, start, language, inner, made, above))
            opened, above = None, language
        else:
            body.append(line)
    assert opened is None, f"{page}:{start}: a code block without an end"
    return found


def run_examples(page: str, blocks: list[Fence]) -> list[str]:
    """Run a page's `>>>` examples, which share one namespace.

    Args:
        page: The page's name.
        blocks: Its fences; those in pycon are run.

    Returns:
        What doctest says against them; nothing if all is well.
    """
    examples = [one for one in blocks if one.language == "pycon"]
    text = "\n\n".join(one.text for one in examples)
    test = doctest.DocTestParser().get_doctest(text, {}, page, page, 0)
    assert len(test.examples) >= len(examples), f"{page}: a pycon block without >>>"
    said: list[str] = []
    options = doctest.ELLIPSIS
    doctest.DocTestRunner(optionflags=options).run(test, out=said.append)
    return said


def read(path: pathlib.Path, *, root: pathlib.Path) -> list[Fence]:
    """Every code block of a file.

    Args:
        path: The page.
        root: What its name is relative to.

    Returns:
        As `fences`.
    """
    name = path.relative_to(root).as_posix()
    return fences(path.read_text(encoding="utf-8"), page=name)
