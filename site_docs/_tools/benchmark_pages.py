"""Write measured numbers into the pages: what stands there comes from committed runs.

A page holds `<!-- from FILE.json -->` and `<!-- end -->`; what is between them is made
from site_docs/benchmarks/results/FILE.json. `<!-- from FILE.json as VIEW -->` shows
another part of the same file, `<!-- all scaling -->` a line for every scaling*.json:
whoever adds a file there is on the page. `<!-- all headlines -->`, `<!-- all steps -->`
and `<!-- all first_run -->` show what `headlines.py` makes of several files; README.md
in the root has such blocks, too, and is renewed with the pages.
`<!-- from MINE.json or FILE.json as VIEW -->` shows what was measured as soon as
MINE.json exists, until then the other. A block whose file does not exist says so: "not
measured" is a legal value; a file that may not be published is an error.

`python site_docs/_tools/benchmark_pages.py` renews all pages; with `--check` it only
says which are stale, with exit code 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

import headlines
import measured_blocks
import renewal
from renewal import ROOT, SITE

from distrinews.bench import results, scaling, timing
from distrinews.errors import ResultError

RESULTS = SITE / "benchmarks" / "results"
BLOCK = re.compile(
    r"(<!-- from (?:(\S+\.json) or )?(\S+\.json)(?: as (\w+))? -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)
ALL = re.compile(
    r"(<!-- all (scaling|headlines|steps|first_run) -->\n).*?(<!-- end -->)", re.DOTALL
)
README = ROOT / "README.md"


def render(text: str, *, prefix: str = "../") -> str:
    """Fill every block of a page.

    Args:
        text: The page.
        prefix: What leads from the page to the folder of the pages.

    Returns:
        The page with its blocks renewed.
    """

    def summary(match: re.Match[str]) -> str:
        draw: dict[str, Callable[[], str]] = {
            "scaling": _scaling_table,
            "headlines": lambda: headlines.table(prefix),
            "steps": headlines.steps,
            "first_run": headlines.first_run,
        }
        return f"{match[1]}\n{draw[match[2]]()}\n\n{match[3]}"

    return ALL.sub(summary, BLOCK.sub(_block, text))


def _block(match: re.Match[str]) -> str:
    """One file's numbers, and where they come from."""
    opening, preferred, name, view, closing = match.groups()
    if preferred and (RESULTS / preferred).exists():
        name, view = preferred, None
        _check_gpu(preferred, results.read(RESULTS / preferred, kind="scaling"))
    if not (RESULTS / name).exists():
        return f"{opening}\n**Not measured yet.** ({name})\n\n{closing}"
    record = results.read(RESULTS / name)
    table = measured_blocks.draw(record, view=view)
    origin = measured_blocks.origin(name, record)
    return f"{opening}\n{table}\n\n{origin}\n\n{closing}"


def _check_gpu(name: str, record: dict[str, Any]) -> None:
    """Refuse a file named after a GPU (t4_...) that was measured on another machine."""
    gpu = name.partition("_")[0].upper()
    if not any(gpu in device for device in record["environment"].get("gpus") or []):
        raise ResultError(
            f"{name} was not measured on a {gpu}: {results.hardware(record)}.",
            why="the page would show another machine's numbers under that name.",
            fix="measure there (on Kaggle choose GPU T4 x2), or give it another name.",
            page="benchmark-files",
        )


def _scaling_row(name: str, record: dict[str, Any]) -> list[str]:
    """The line of one file."""
    env, settings, figures = (
        record[part] for part in ("environment", "settings", "figures")
    )
    one_process, strong, weak = (
        figures[key] for key in ("one_process", "strong", "weak")
    )
    gpus = env.get("device") == "cuda" and ", ".join(env["gpus"])
    return [
        name + " (noisy)" * any(row["noisy"] for row in (one_process, strong, weak)),
        gpus or f"{env['cpu']}, {env['num_cores']} cores",
        f"{settings['preset']}, {settings['global_batch_size']}",
        *(str(env["num_ranks"]), f"{one_process['median_ms']:.0f} ms"),
        f"{strong['median_ms']:.0f} ms",
        f"{strong['phases_ms'].get('communication', 0.0):.0f} ms",
        *(scaling.speedup_text(figures, name) for name in ("strong", "weak")),
    ]


def _scaling_table() -> str:
    """A line for every machine that chapter 06 was measured on."""
    lines = [
        ["file", "machine", "model, rows a step", "ranks", "one process"]
        + ["ranks, same rows", "exposed", "speed-up", "weak"]
    ]
    for path in sorted(RESULTS.glob("scaling*.json")):
        record = results.check_publishable(path, noisy=True)
        if record["kind"] != "scaling":
            raise ResultError(
                f"{path} is named like a scaling file and measures {record['kind']!r}.",
                why="the page shows every scaling*.json.",
                fix="rename it.",
                page="benchmark-files",
            )
        try:
            lines.append(_scaling_row(path.name, record))
        except (LookupError, TypeError, ValueError) as error:
            raise ResultError(
                f"{path} lacks what the page shows ({error!r}).",
                why="a line with holes compares nothing.",
                fix="measure again with this version's chapter 06.",
                page="benchmark-files",
            ) from None
    return timing.draw_table(lines)


def main() -> int:
    """Renew or check all pages.

    Returns:
        The exit code.
    """
    renewed = renewal.pages(render)
    if README.is_file():  # the folder of the pages may be alone, as in a test
        text = README.read_text(encoding="utf-8")
        renewed.append((README, render(text, prefix="site_docs/")))
    return renewal.finish(renewed)


if __name__ == "__main__":
    sys.exit(main())
