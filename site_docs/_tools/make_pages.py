"""Write everything generated on the site: parts of pages, and whole files.

A page holds `<!-- KIND ARGUMENT -->` and `<!-- end -->`; what stands between them is
made by the function that a module of `MAKERS` calls KIND in its `BLOCKS`. What the
`files` of a module return are whole files; None stands for a file that has to go. The
README has blocks, too.

`python site_docs/_tools/make_pages.py [NAME ...]` writes what differs, all of it or by
the named modules only; with `--check` it names what is stale, with exit code 1.

WHY before the build, and not by plugins: another generator finds ordinary Markdown.
"""

from __future__ import annotations

import argparse
import importlib
import pathlib
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence

from records import ROOT, SITE

__all__ = ["MAKERS", "blocks", "made", "render"]

MAKERS = (
    "benchmark_pages",
    "chapter_openers",
    "chapter_pages",
    "fill_pages",
    "self_check_pages",
    "reference_pages",
    "interview_pages",
    "troubleshooting_page",
    "nav_pages",
    "room_pages",
    "redirect_pages",
    "exercise_pictures",
    "first_run_player",
    "widget_fixtures",
)
# WHY only when they are named: they draw in a Chromium.
NAMED_ONLY = ("card_picture", "widget_pictures")


def blocks(names: Sequence[str] = MAKERS) -> dict[str, Callable[[str], str]]:
    """Kind of a block -> what makes its Markdown of the marker's argument."""
    modules = map(importlib.import_module, names)
    return {k: make for m in modules for k, make in getattr(m, "BLOCKS", {}).items()}


def render(text: str, makers: Mapping[str, Callable[[str], str]]) -> str:
    """Fill the blocks of a page.

    Args:
        text: The page.
        makers: As `blocks` returns them; other blocks stay as they are.

    Returns:
        The page with its blocks renewed, each as far indented as its marker.

    Raises:
        SystemExit: A block has no end, or another one begins before it.
    """
    opening = rf"^( *)(<!-- ({'|'.join(makers)})(?: (.*))? -->)$"
    block = re.compile(
        rf"{opening}\n(?:(?! *<!-- ).*\n)*? *<!-- end -->$", re.MULTILINE
    )

    def filled(match: re.Match[str]) -> str:
        indent, marker, kind, argument = match.groups()
        content = textwrap.indent(makers[kind](argument or ""), indent)
        # Blank lines around it: Markdown wants them.
        return f"{indent}{marker}\n\n{content}\n\n{indent}<!-- end -->"

    ended = {match.start() for match in block.finditer(text)}
    for match in re.finditer(opening, text, re.MULTILINE):
        if match.start() not in ended:
            raise SystemExit(f"{match[2]} has no <!-- end --> of its own.")
    return block.sub(filled, text)


def made(names: Sequence[str]) -> Iterator[tuple[pathlib.Path, str | bytes | None]]:
    """Make everything that some modules make.

    Args:
        names: Of modules.

    Yields:
        A path, and what the file has to hold; None if it has to go.

    Raises:
        SystemExit: A block cannot be filled; page and marker are named.
    """
    if makers := blocks(names):
        # The folder of the pages may be alone, as in a test.
        readme = [path for path in (ROOT / "README.md",) if path.is_file()]
        for page in (*sorted(SITE.rglob("*.md")), *readme):
            try:
                yield page, render(page.read_text(encoding="utf-8"), makers)
            except SystemExit as error:
                raise SystemExit(f"{page.relative_to(ROOT)}: {error}") from None
    for module in map(importlib.import_module, names):
        if hasattr(module, "files"):
            yield from module.files().items()


def _is_stale(path: pathlib.Path, content: str | bytes | None) -> bool:
    if content is None or not path.is_file():
        return path.exists() or content is not None
    if isinstance(content, bytes):
        return path.read_bytes() != content
    # WHY as text: where git writes Windows' line ends, a page is not stale for that.
    return path.read_text(encoding="utf-8") != content


def _write(path: pathlib.Path, content: str | bytes | None) -> None:
    if content is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def main() -> int:
    """Renew or check.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    known = ", ".join((*MAKERS, *NAMED_ONLY))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {known}")
    parser.add_argument("--check", action="store_true", help="write nothing; compare")
    given = parser.parse_args()
    if unknown := set(given.names) - {*MAKERS, *NAMED_ONLY}:
        parser.error(f"no {', '.join(sorted(unknown))}; there are {known}")
    # WHY all before the first is written: after an error every file is as it was.
    contents = dict(made(given.names or MAKERS))
    stale = {path: new for path, new in contents.items() if _is_stale(path, new)}
    for path, content in stale.items():
        if not given.check:
            _write(path, content)
        print(path.relative_to(ROOT))
    return int(bool(stale) and given.check)


if __name__ == "__main__":
    sys.exit(main())
