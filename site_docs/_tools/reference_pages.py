"""Draw the reference: the library's pages, the commands, the settings, the tables.

Whole pages: `reference/api/*.md`. Blocks: `<!-- reference commands -->`, `settings` and
`library`, the list of the library's pages. And `inventories/*.inv`, by which types link
to torch's and Python's documentation.

Not here: the pages in `nav` of mkdocs.yml; a strict build refuses one that is missing.
"""

from __future__ import annotations

import pathlib

import inventories
import reference_api
import reference_flags


def files() -> dict[pathlib.Path, str | bytes | None]:
    """Every file; a page of the library that no room has any more has to go."""
    return (
        dict.fromkeys(reference_api.FOLDER.glob("*.md"))
        | reference_api.pages()
        | inventories.files()
    )


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


BLOCKS = {
    "reference": lambda name: {
        "commands": reference_flags.commands,
        "settings": reference_flags.settings_models,
        "library": _library,
    }[name]()
}
