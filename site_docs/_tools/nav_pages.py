"""Draw the list of a section's pages from the navigation, so that no page is missing.

`<!-- section Benchmarks -->`: a line for each page of that section in mkdocs.yml,
except for its index, with the headline and the `description` of the page.
"""

from __future__ import annotations

import os
import pathlib
import re

from records import ROOT, SITE

__all__ = ["pages_of"]


def pages_of(section: str, config: str) -> list[str]:
    r"""List the pages of a section, with those of the sections inside it.

    Args:
        section: Its name in the navigation.
        config: The text of mkdocs.yml.

    Returns:
        Paths from the folder of pages, in order.

    Raises:
        SystemExit: There is no such section.

    Examples:
        >>> pages_of("B", "- A: a.md\n- B:\n    - b.md\n    - C: c.md\n")
        ['b.md', 'c.md']
    """
    form = rf"^( *)- {re.escape(section)}:[^\n]*\n((?:\1 +[^\n]*\n)+)"
    found = re.search(form, config, re.MULTILINE)
    if found is None:
        raise SystemExit(f"mkdocs.yml has no section {section}.")
    return re.findall(r"(\S+\.md)$", found[2], re.MULTILINE)


def _line(page: pathlib.Path, index: pathlib.Path) -> str:
    text = page.read_text(encoding="utf-8")
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    about = re.search(r'^description: "(.+)"$', text, re.MULTILINE)
    if title is None or about is None:
        raise SystemExit(f"{page} lacks a headline or a description.")
    link = pathlib.PurePath(os.path.relpath(page, index.parent)).as_posix()
    return f"| [{title[1]}]({link}) | {about[1]} |"


def _section(name: str) -> str:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    first, *others = [SITE / page for page in pages_of(name, config)]
    lines = [_line(page, first) for page in others]
    return "\n".join(("| page | question |", "| --- | --- |", *lines))


BLOCKS = {"section": _section}
