"""What stands below each headline of a page, by the headline's anchor."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["sections"]

LINK = re.compile(r"\[([^]]*)\](?:\([^)]*\)|\[[^]]*\])")  # [words](page), [words][name]
HEADING = re.compile(r"#{1,6} +(?P<title>.*?)(?: *\{ *#(?P<id>[\w-]+) *\})?")


def slug(title: str) -> str:
    """The anchor that Python-Markdown's `toc` gives a headline, as MkDocs uses it."""
    text = LINK.sub(r"\1", title).replace("`", "")
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def sections(page: str) -> dict[str, str]:
    """What stands below each headline, up to the next one: words, without links."""
    lines_by_anchor: dict[str, list[str]] = {}
    here: list[str] = []
    fence = ""
    for line in page.splitlines():
        mark = re.match(r" *(`{3,})", line)
        if mark and (not fence or line.strip() == fence):
            fence = "" if fence else mark[1]
        title = None if fence else HEADING.fullmatch(line)
        if title is None:
            here.append(line)
            continue
        name, repeats = title["id"] or slug(title["title"]), 0
        while (anchor := f"{name}_{repeats}" if repeats else name) in lines_by_anchor:
            repeats += 1  # the second of the same name is name_1, as in MkDocs
        here = lines_by_anchor[anchor] = []
    text = {
        name: " ".join(" ".join(lines).split())
        for name, lines in lines_by_anchor.items()
    }
    return {name: LINK.sub(r"\1", words) for name, words in text.items()}
