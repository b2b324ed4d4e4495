"""Build the site with MkDocs and with Zensical, and say which pages and anchors differ.

Zensical is the successor by the authors of our theme, and reads the same `mkdocs.yml`
(howto/site). `python site_docs/_tools/compare_builds.py` builds a copy of what git
tracks, with both, and prints a report; exit code 1 if one of them does not build.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from records import ROOT

__all__ = ["anchors", "report"]

BUILDERS = {
    "MkDocs": ("mkdocs", "build", "--quiet"),
    "Zensical": ("zensical", "build", "--clean"),
}
MAX_SHOWN = 20


def anchors(site: pathlib.Path) -> set[str]:
    """Read the pages of a built site.

    Args:
        site: Its folder.

    Returns:
        `PAGE` for each page, and `PAGE#ID` for each id in its article.
    """
    found = set()
    for path in site.rglob("*.html"):
        page = path.relative_to(site).as_posix()
        # What stands around the article belongs to the theme, as "__" does in it.
        article = path.read_text(encoding="utf-8").partition("<article")[2]
        ids = re.findall(r' id="?(?!__)([^"\s>]+)', article.partition("</article>")[0])
        found |= {page, *(f"{page}#{name}" for name in ids)}
    return found


def report(sites: dict[str, set[str]]) -> str:
    """Say what only one of two builds has.

    Args:
        sites: Name of a builder -> what `anchors` found.

    Returns:
        A line for each builder and kind, and the first of what only it has.
    """
    lines = []
    (one, first), (other, second) = sites.items()
    for name, own, others in ((one, first, second), (other, second, first)):
        pages = {entry for entry in own if "#" not in entry}
        # WHY not the anchors of a page that the other lacks: the page says it.
        common = {entry for entry in own - pages if entry.partition("#")[0] in others}
        for kind, all_own, lone in (
            ("pages", pages, sorted(pages - others)),
            ("anchors", own - pages, sorted(common - others)),
        ):
            lines.append(f"{name}: {len(all_own)} {kind}, {len(lone)} only here")
            lines += [f"  {entry}" for entry in lone[:MAX_SHOWN]]
            lines += [f"  [{len(lone) - MAX_SHOWN} more]"] * (len(lone) > MAX_SHOWN)
    return "\n".join(lines)


def main() -> int:
    """Build twice and compare.

    Returns:
        The exit code.
    """
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    listed = ("git", "ls-files", "-z", "site_docs", "distrinews", "chapters", "apps")
    more = ("mkdocs.yml", "README.md", "pyproject.toml")
    tracked = subprocess.run(
        (*listed, *more), cwd=ROOT, capture_output=True, check=True
    )
    sites = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, command in BUILDERS.items():
            folder = pathlib.Path(scratch, name)
            for path in filter(None, tracked.stdout.decode().split("\0")):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, folder / path)
            completed = subprocess.run(
                (sys.executable, "-m", *command),
                cwd=folder,
                env=os.environ
                | {"PYTHONPATH": str(folder), "NO_MKDOCS_2_WARNING": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if completed.returncode:
                print(f"{name} does not build:\n{completed.stdout[-3000:]}")
                return 1
            sites[name] = anchors(folder / "site")
    print(report(sites))
    return 0


if __name__ == "__main__":
    sys.exit(main())
