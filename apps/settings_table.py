"""Renew the settings in site_docs/howto/serve.md: `python apps/settings_table.py`.

Promise: the page names every setting, with its default, in the words of `--help`.
"""

from __future__ import annotations

import pathlib
import re

from serve_settings import ServeSettings

__all__ = ["PAGE", "fill"]

PAGE = pathlib.Path(__file__).parents[1] / "site_docs" / "howto" / "serve.md"
BLOCK = re.compile(r"(<!-- settings -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(page: str) -> str:
    """Write the table into the page.

    Args:
        page: Its text.

    Returns:
        Its text, the table renewed.
    """
    lines = ["| Setting | Default | What it is |", "|---|---|---|"]
    for name, field in ServeSettings.model_fields.items():
        flag = name.replace("_", "-")
        default = "" if field.default is None else f"`{field.default}`"
        lines.append(f"| `{flag}` | {default} | {field.description} |")
    table = "\n".join(lines)
    return BLOCK.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", page)


def main() -> None:
    """Renew the page."""
    text = fill(PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
