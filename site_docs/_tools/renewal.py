"""Write what a tool made, or only say which files are stale.

The tools that write pages and what the pages show end here, so that `--check` means
the same to all of them.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Iterable

ROOT = pathlib.Path(__file__).resolve().parents[2]
SITE = ROOT / "site_docs"


def pages(
    render: Callable[[str], str], folder: pathlib.Path = SITE
) -> list[tuple[pathlib.Path, str]]:
    """Make every page below a folder again.

    Args:
        render: Gives a page's new text for its text.
        folder: Where the pages are.

    Returns:
        A path and a text for each page.
    """
    paths = sorted(folder.rglob("*.md"))
    return [(page, render(page.read_text(encoding="utf-8"))) for page in paths]


def finish(
    files: Iterable[tuple[pathlib.Path, str | bytes]],
    obsolete: Iterable[pathlib.Path] = (),
) -> int:
    """Write the files that differ, or with `--check` name them; they are printed.

    Args:
        files: Paths with what they have to hold.
        obsolete: Files that nothing makes any more.

    Returns:
        The exit code: 1 with `--check` if anything is stale.
    """
    check = "--check" in sys.argv
    stale = list(obsolete)
    if not check:
        for path in stale:
            path.unlink()
    for path, content in files:
        if _same(path, content):
            continue
        stale.append(path)
        if check:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content, encoding="utf-8", newline="\n")
    for path in stale:
        print(path.relative_to(ROOT))
    return int(bool(stale) and check)


def _same(path: pathlib.Path, content: str | bytes) -> bool:
    if not path.is_file():
        return False
    if isinstance(content, bytes):
        return path.read_bytes() == content
    # WHY as text: where git writes Windows' line ends, a page is not stale for that.
    return path.read_text(encoding="utf-8") == content
