"""Write measured numbers into the pages: what stands there comes from committed runs.

A page holds `<!-- from FILE.json -->` and `<!-- end -->`; what is between them is made
from site_docs/benchmarks/results/FILE.json. `python
site_docs/_tools/benchmark_pages.py` renews all pages; with `--check` it only says which
are stale, with exit code 1.
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

from distrinews import averaging, results, scaling

SITE = pathlib.Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- from (\S+\.json) -->\n).*?(<!-- end -->)", re.DOTALL)


def _averaging(told: dict[str, Any]) -> str:
    return averaging.table(told["figures"])


def _scaling(told: dict[str, Any]) -> str:
    num_ranks = told["environment"]["num_ranks"]
    shown = scaling.table(told["figures"], world_size=num_ranks)
    words = scaling.explain(told["figures"], world_size=num_ranks)
    listed = "\n".join(f"- {line}" for line in words.splitlines())
    return f"{shown}\n\n{listed}"


RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "averaging": _averaging,
    "scaling": _scaling,
}


def render(text: str) -> str:
    """Fill every block of a page.

    Args:
        text: The page.

    Returns:
        The page with its blocks renewed.
    """

    def renewed(match: re.Match[str]) -> str:
        opening, name, closing = match.groups()
        told = results.read(SITE / "benchmarks" / "results" / name)
        env = told["environment"]
        origin = (
            f"Measured on {told['date']}: {env['cpu']}, {env['num_cores']} cores, "
            f"torch {env['packages']['torch']}, preset {told['settings']['preset']}, "
            f"{told['settings']['global_batch_size']} rows a step over "
            f"{env['num_ranks']} ranks, {told['settings']['num_rounds']} rounds in "
            f"turn ({name}, commit {told['commit'][:7]})."
        )
        return f"{opening}\n{RENDERERS[told['kind']](told)}\n\n{origin}\n\n{closing}"

    return BLOCK.sub(renewed, text)


def main() -> int:
    """Renew or check all pages.

    Returns:
        The exit code.
    """
    stale = []
    for page in sorted(SITE.rglob("*.md")):
        before = page.read_text(encoding="utf-8")
        after = render(before)
        if after != before:
            stale.append(page)
            if "--check" not in sys.argv:
                page.write_text(after, encoding="utf-8", newline="\n")
    for page in stale:
        print(page.relative_to(SITE.parent))
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
