"""Write measured numbers into the pages: what stands there comes from committed runs.

A page holds `<!-- from FILE.json -->` and `<!-- end -->`; what is between them is made
from site_docs/benchmarks/results/FILE.json. `<!-- from FILE.json PART -->` shows a part
of a record that several pages share. `<!-- from MINE.json or FILE.json PART -->` shows
what was measured as soon as results/MINE.json exists, until then the other. A block
whose file does not exist says so: "not measured" is a legal value. `python
site_docs/_tools/benchmark_pages.py` renews all pages; with `--check` it only says which
are stale, with exit code 1.
"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

from distrinews import (
    averaging,
    benchmark,
    calibration,
    forecast,
    many_ranks,
    results,
    scaling,
)
from distrinews.errors import ResultError

SITE = pathlib.Path(__file__).resolve().parent.parent
BLOCK = re.compile(
    r"(<!-- from (?:(\S+\.json) or )?(\S+\.json)(?: (\w+))? -->\n).*?(<!-- end -->)",
    re.DOTALL,
)


def _averaging(told: dict[str, Any]) -> str:
    return averaging.table(told["figures"])


def _scaling(told: dict[str, Any]) -> str:
    num_ranks = told["environment"]["num_ranks"]
    shown = scaling.table(told["figures"], world_size=num_ranks)
    words = scaling.explain(told["figures"], world_size=num_ranks)
    listed = "\n".join(f"- {line}" for line in words.splitlines())
    return f"{shown}\n\n{listed}"


def _without(told: dict[str, Any]) -> str:
    lines = [["the model without", "median error", "worst error"]]
    whole = {"nothing left out": told["figures"]}
    for term, row in (whole | told["figures"]["without"]).items():
        errors = (row["median_error"], row["worst_error"])
        lines.append([term, *(f"{error:.1%}" for error in errors)])
    return benchmark.draw_table(lines)


def _links(told: dict[str, Any]) -> str:
    lines = [["ranks", "alpha", "bandwidth", "contention"]]
    for row in told["figures"]["fitted"]["links"]:
        lines.append([
            str(row["world_size"]),
            f"{1000 * row['alpha_s']:.2f} ms",
            f"{row['bytes_per_s'] / 1e9:.2f} GB/s",
            f"{row['contention']:.2f}",
        ])
    return benchmark.draw_table(lines)


def _t4(told: dict[str, Any]) -> str:
    return "**Predicted, not measured.**\n\n" + forecast.t4_table(told["figures"]["t4"])


def _many_ranks(told: dict[str, Any]) -> str:
    shown = ["**Predicted, not measured.**"]
    for model, scenarios in told["figures"]["many_ranks"].items():
        for name, rows in scenarios.items():
            found = many_ranks.stops_hiding(rows)
            at = {
                word: f"from {ranks} ranks on" if ranks else "at none of these"
                for word, ranks in found.items()
            }
            title = many_ranks.SCENARIOS[name].title
            shown += [
                f"### {model}, {title}",
                many_ranks.table(rows),
                "Exposed communication round a ring is more than a quarter of the "
                f"step: possibly {at['possibly']}, certainly {at['certainly']}.",
            ]
    return "\n\n".join(shown)


def _sources(told: dict[str, Any]) -> str:
    known = told["figures"]["published"]
    shown = ["The pair of T4:", forecast.sources(known["t4_pair"])]
    for where in ("t4_ethernet", "a100_efa"):
        title = many_ranks.SCENARIOS[where].title
        other = {k: v for k, v in known[where].items() if v != known["t4_pair"][k]}
        shown += [f"Else for {title}:", forecast.sources(other)]
    return "\n\n".join(shown)


# Kind, or kind and part -> what draws it.
RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "averaging": _averaging,
    "calibration": lambda told: calibration.table(told["figures"]),
    "calibration links": _links,
    "calibration without": _without,
    "prediction many_ranks": _many_ranks,
    "prediction sources": _sources,
    "prediction t4": _t4,
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
        opening, mine, name, part, closing = match.groups()
        folder = SITE / "benchmarks" / "results"
        if mine and (folder / mine).exists():
            name, part = mine, None
            _check_gpu(mine, results.read(folder / mine, kind="scaling"))
        if not (folder / name).exists():
            return f"{opening}\n**Not measured yet.** ({name})\n\n{closing}"
        told = results.read(folder / name)
        drawn = RENDERERS[f"{told['kind']} {part}" if part else told["kind"]](told)
        return f"{opening}\n{drawn}\n\n{_origin(name, told)}\n\n{closing}"

    return BLOCK.sub(renewed, text)


def _check_gpu(name: str, told: dict[str, Any]) -> None:
    """Refuse a file named after a GPU (t4_...) that was measured on another machine."""
    gpu = name.partition("_")[0].upper()
    if not any(gpu in one for one in told["environment"].get("gpus") or []):
        raise ResultError(
            f"{name} was not measured on a {gpu}: {results.hardware(told)}.",
            why="the page would show another machine's numbers under that name.",
            fix="measure there (on Kaggle choose GPU T4 x2), or give it another name.",
            page="benchmark-files",
        )


def _origin(name: str, told: dict[str, Any]) -> str:
    """Where a record's numbers come from, in a sentence."""
    env, settings = told["environment"], told["settings"]
    at = f"({name}, commit {told['commit'][:7]})"
    if told["kind"] == "prediction":
        return f"Predicted on {told['date']} from published figures {at}."
    hardware = ", ".join([*env["gpus"], env["cpu"]])
    words = (
        f"Measured on {told['date']}: {hardware}, {env['num_cores']} cores, "
        f"torch {env['packages']['torch']}, preset {settings['preset']}, "
    )
    if told["kind"] == "calibration":
        num_ranks = env["num_ranks"]
        return f"{words}1 to {num_ranks} ranks, {settings['num_rounds']} rounds {at}."
    return (
        f"{words}{settings['global_batch_size']} rows a step over {env['num_ranks']} "
        f"ranks, {settings['num_rounds']} rounds in turn {at}."
    )


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
