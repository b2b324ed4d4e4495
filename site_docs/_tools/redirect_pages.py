"""Write a page at every address that a page once had, which leads on to the new one.

WHY whole files and no plugin: another generator copies them as they are, and so does
every host of static sites.
"""

from __future__ import annotations

import os
import pathlib

from records import SITE

__all__ = ["MOVED", "files", "leading_to"]

# Address that was -> address that is; both from the site's root. An anchor goes along.
MOVED = {
    "benchmarks/one-process-cpu": "benchmarks/scaling",
    "benchmarks/two-ranks-cpu": "benchmarks/scaling",
    "benchmarks/speed-up": "benchmarks/scaling",
    "benchmarks/why-slower": "understand/why-ddp-can-be-slower",
}


def leading_to(target: str, *, title: str) -> str:
    """Write the page that leads on.

    Args:
        target: Where to, as seen from the page, with a slash at its end.
        title: Of the page that stands there.

    Returns:
        HTML, which works without JavaScript, too.

    Examples:
        >>> 'href="../new/"' in leading_to("../new/", title="New")
        True
    """
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Moved: {title}</title>
<meta name="description" content="This page has moved to: {title}">
<meta name="robots" content="noindex">
<link rel="canonical" href="{target}">
<script>location.replace("{target}" + location.hash)</script>
<meta http-equiv="refresh" content="0; url={target}">
</head>
<body><main><h1>Moved</h1><p>Now: <a href="{target}">{title}</a></p></main></body>
</html>
"""


def files() -> dict[pathlib.Path, str]:
    """Every page that leads on.

    Returns:
        HTML by path.

    Raises:
        SystemExit: A page is still at the old address, or none at the new one.
    """
    pages = {}
    for old, new in MOVED.items():
        page = SITE / f"{new}.md"
        if (SITE / f"{old}.md").exists() or not page.is_file():
            raise SystemExit(f"MOVED: {old} is there, or {new} is not.")
        heading = page.read_text(encoding="utf-8").partition("\n# ")
        title = (heading[2] or heading[0].removeprefix("# ")).partition("\n")[0]
        target = pathlib.PurePath(os.path.relpath(new, old)).as_posix() + "/"
        pages[SITE / old / "index.html"] = leading_to(target, title=title)
    return pages
