"""Write measured numbers into the pages: what stands there comes from committed runs.

A page holds `<!-- from FILE.json -->` and `<!-- end -->`; what is between them is made
from site_docs/benchmarks/results/FILE.json. `<!-- from FILE.json as VIEW -->` shows
another part of the same file, `<!-- all scaling -->` a line for every scaling*.json:
whoever adds a file there is on the page. `<!-- from MINE.json or FILE.json as VIEW -->`
shows what was measured as soon as MINE.json exists, until then the other. A block whose
file does not exist says so: "not measured" is a legal value; a file that may not be
published is an error.

`python site_docs/_tools/benchmark_pages.py` renews all pages; with `--check` it only
says which are stale, with exit code 1.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import measured_blocks
import renewal
from renewal import SITE

from distrinews.bench import results, timing
from distrinews.errors import ResultError

RESULTS = SITE / "benchmarks" / "results"
BLOCK = re.compile(
    r"(<!-- from (?:(\S+\.json) or )?(\S+\.json)(?: as (\w+))? -->\n)"
    r".*?(<!-- end -->)",
    re.DOTALL,
)
ALL = re.compile(r"(<!-- all scaling -->\n).*?(<!-- end -->)", re.DOTALL)


def render(text: str) -> str:
    """Fill every block of a page.

    Args:
        text: The page.

    Returns:
        The page with its blocks renewed.
    """
    filled = BLOCK.sub(_block, text)
    return ALL.sub(
        lambda match: f"{match[1]}\n{_scaling_table()}\n\n{match[2]}", filled
    )


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
        *(f"{strong['speedup']:.2f}x", f"{weak['speedup']:.2f}x"),
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
    return renewal.finish(renewal.pages(render))


if __name__ == "__main__":
    sys.exit(main())
