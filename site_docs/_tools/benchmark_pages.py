"""Draw the blocks of measured numbers: what stands there comes from committed runs.

- `<!-- from FILE.json -->` shows site_docs/benchmarks/results/FILE.json, `<!-- from
  FILE.json as VIEW -->` another part of it. `<!-- from MINE.json or FILE.json as VIEW
  -->` shows what was measured as soon as MINE.json exists, until then the other. A
  block whose file does not exist says so: "not measured" is a legal value; a file that
  may not be published is an error.
- `<!-- all scaling -->` has a line for every scaling*.json: whoever adds a file there
  is on the page. `<!-- all headlines PREFIX -->`, `<!-- all steps -->` and `<!-- all
  first_run -->` show what `headlines.py` makes of several files; PREFIX leads from the
  file that shows it to the folder of the pages.
"""

from __future__ import annotations

import re
from typing import Any

import headlines
import measured_blocks
from number_tables import numbers_right
from records import RESULTS

from distrinews.bench import results, scaling, timing
from distrinews.errors import ResultError

FILES = re.compile(r"(?:(\S+\.json) or )?(\S+\.json)(?: as (\w+))?")


def _measured(argument: str) -> str:
    """One file's numbers, and where they come from."""
    match = FILES.fullmatch(argument)
    if match is None:
        raise SystemExit(f"{argument!r} names no file: correct the marker.")
    preferred, name, view = match.groups()
    if preferred and (RESULTS / preferred).exists():
        name, view = preferred, None
        _check_gpu(preferred, results.read(RESULTS / preferred, kind="scaling"))
    if not (RESULTS / name).exists():
        return f"**Not measured yet.** ({name})"
    record = results.read(RESULTS / name)
    table = measured_blocks.draw(record, view=view)
    return f"{table}\n\n{measured_blocks.origin(name, record)}"


def _summary(argument: str) -> str:
    """A figure of several files."""
    name, _, prefix = argument.partition(" ")
    if name == "headlines":
        return headlines.table(prefix)
    if name == "headlines_short":
        return headlines.short_table(prefix)
    return {
        "scaling": _scaling_table,
        "steps": headlines.steps,
        "first_run": headlines.first_run,
    }[name]()


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
        ["file", "machine", "model, rows per step", "ranks", "one process"]
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


BLOCKS = {
    "from": lambda argument: numbers_right(_measured(argument)),
    "all": lambda argument: numbers_right(_summary(argument)),
}
