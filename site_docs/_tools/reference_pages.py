"""Write the reference: the library's pages, the commands, the settings, the tables.

Whole pages: `reference/api/*.md`. Parts of a page, between `<!-- reference NAME -->`
and `<!-- end -->`: the commands, the settings, the list of the library's pages. A part
of mkdocs.yml: the library's pages in the navigation. And `inventories/*.inv`, by which
types link to torch's and Python's documentation.

`python site_docs/_tools/reference_pages.py` renews all of them; with `--check` it only
says which are stale, with exit code 1.
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Callable

import inventories
import reference_api
import reference_flags
import renewal
from renewal import ROOT, SITE

CONFIG = ROOT / "mkdocs.yml"
BLOCK = re.compile(r"(<!-- reference (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
NAVIGATION = re.compile(
    r"(^ *)(# reference/api: begin.*?\n).*?(^ *# reference/api: end$)", re.DOTALL | re.M
)


def renewed() -> dict[pathlib.Path, bytes]:
    """Every file that this tool writes, as it should be.

    Returns:
        Content by path.
    """
    content_by_path = {
        path: text.encode() for path, text in reference_api.pages().items()
    }
    for name in ("index", "command-line", "settings"):
        page = SITE / "reference" / f"{name}.md"
        content_by_path[page] = BLOCK.sub(
            _block, page.read_text(encoding="utf-8")
        ).encode()
    content_by_path[CONFIG] = _navigation(CONFIG.read_text(encoding="utf-8")).encode()
    return content_by_path | inventories.files()


def obsolete() -> list[pathlib.Path]:
    """Pages of the library that no group has any more.

    Returns:
        Their paths.
    """
    return sorted(set(reference_api.FOLDER.glob("*.md")) - set(reference_api.pages()))


def _block(match: re.Match[str]) -> str:
    renderers: dict[str, Callable[[], str]] = {
        "commands": reference_flags.commands,
        "settings": reference_flags.settings_models,
        "library": _library,
    }
    return f"{match[1]}\n{renderers[match[2]]()}\n\n{match[3]}"


def _library() -> str:
    """A list of the rooms: a phone is too narrow for a table."""
    lines = []
    for room, _ in reference_api.ROOMS:
        about = reference_api.modules()[room].about.partition("\n")[0]
        links = ", ".join(
            f"[`{name.rpartition('.')[2]}`][distrinews.{name}]"
            for name in reference_api.of_room(room)[1:]
        )
        page = f"api/{reference_api.slug(room)}.md"
        lines.append(f"- [`{room}`]({page}): {about}" + f"<br>{links}" * bool(links))
    return "\n".join(lines)


def _navigation(config: str) -> str:
    def lines(match: re.Match[str]) -> str:
        pages = "".join(
            f"{match[1]}- reference/api/{reference_api.slug(room)}.md\n"
            for room, _ in reference_api.ROOMS
        )
        return f"{match[1]}{match[2]}{pages}{match[3]}"

    return NAVIGATION.sub(lines, config)


def main() -> int:
    """Renew or check everything.

    Returns:
        The exit code.
    """
    return renewal.finish(renewed().items(), obsolete())


if __name__ == "__main__":
    sys.exit(main())
