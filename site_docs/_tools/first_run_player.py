"""Write the element of <first-run> as it stands in a page without JavaScript.

`site_docs/widgets/first-run.html` holds command one as the README has it, for both
shells, and what our captured run printed; the widget plays these very lines.
"""

from __future__ import annotations

import html
import pathlib
import re

import chapter_pages
import records
from headlines import QUICKSTART

__all__ = ["commands", "files"]

SHELLS = {"sh": "Linux and macOS", "PowerShell": "Windows (PowerShell)"}


def commands(readme: str) -> dict[str, str]:
    """Find command one.

    Args:
        readme: The text of README.md.

    Returns:
        Name of the shell -> its line.

    Raises:
        SystemExit: It is not there for both shells, in the order of `SHELLS`.
    """
    section = readme.partition("<!-- command-one -->")[2]
    section = section.partition("<!-- command-two -->")[0]
    found = re.findall(r"^```(sh|powershell)\n(.+)\n```$", section, re.MULTILINE)
    if [shell.lower() for shell in SHELLS] != [shell for shell, _ in found]:
        raise SystemExit("README.md: command one does not stand there for each shell.")
    return dict(zip(SHELLS, (line for _, line in found), strict=True))


def files() -> dict[pathlib.Path, str]:
    """The element."""
    readme = (records.ROOT / "README.md").read_text(encoding="utf-8")
    lines = ['<div class="widget-place">', "<first-run>"]
    for shell, line in commands(readme).items():
        lines += [
            f"<p>Command one on {SHELLS[shell]}:</p>",
            f'<pre tabindex="0"><code data-shell="{shell}">'
            f"{html.escape(line)}</code></pre>",
        ]
    lines += [
        "<p>What it prints:</p>",
        '<pre tabindex="0"><code class="f-printed">'
        f"{html.escape(records.captured_text(QUICKSTART))}</code></pre>",
        f'<p class="f-origin">{html.escape(chapter_pages.origin(QUICKSTART))}</p>',
        *("</first-run>", "</div>", ""),
    ]
    return {records.SITE / "widgets" / "first-run.html": "\n".join(lines)}
