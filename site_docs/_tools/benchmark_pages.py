"""Write measured numbers into the pages: what stands there comes from committed runs.

A page holds `<!-- from FILE.json -->` and `<!-- end -->`; what is between them is made
from site_docs/benchmarks/results/FILE.json. `<!-- from FILE.json as VIEW -->` shows
another part of the same file, `<!-- all scaling -->` a line for every scaling*.json:
whoever adds a file there is on the page. `python site_docs/_tools/benchmark_pages.py`
renews all pages; with `--check` it only says which are stale, with exit code 1. A file
that may not be published is an error.
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
    datapath,
    gain,
    peer_report,
    recorded,
    results,
    scaling,
)
from distrinews.errors import ResultError

SITE = pathlib.Path(__file__).resolve().parent.parent
RESULTS = SITE / "benchmarks" / "results"
BLOCK = re.compile(
    r"(<!-- from (\S+\.json)(?: as (\w+))? -->\n).*?(<!-- end -->)", re.DOTALL
)
ALL = re.compile(r"(<!-- all scaling -->\n).*?(<!-- end -->)", re.DOTALL)


def _averaging(told: dict[str, Any]) -> str:
    return averaging.table(told["figures"])


def _scaling(told: dict[str, Any]) -> str:
    num_ranks = told["environment"]["num_ranks"]
    shown = scaling.table(told["figures"], world_size=num_ranks)
    words = scaling.explain(told["figures"], world_size=num_ranks)
    listed = "\n".join(f"- {line}" for line in words.splitlines())
    return f"{shown}\n\n{listed}"


def _trace(told: dict[str, Any]) -> str:
    parts = (recorded.table(told["figures"]), benchmark.noise(told["figures"]))
    return "\n\n".join(filter(None, parts))


def _peers(told: dict[str, Any]) -> str:
    num_rows = told["settings"]["validation_rows"]
    return peer_report.table(told["figures"], num_rows=num_rows)


def _data(told: dict[str, Any]) -> str:
    found = told["figures"]
    return (
        f"{datapath.table(found)}\n\nMost by least over these sizes: memory "
        f"{found['memory_ratio']:.2f}x, time per row {found['time_ratio']:.2f}x."
    )


def _one_process(told: dict[str, Any]) -> str:
    row = told["figures"]["one_process"]
    phases = [f"{row['phases_ms'].get(p, 0.0):.0f} ms" for p in benchmark.PHASES]
    lines = [
        ["threads", "step", *benchmark.PHASES, "samples/s", "tokens/s", "padding"],
        [
            *(str(row["threads"][0]), f"{row['median_ms']:.0f} ms", *phases),
            f"{row['samples_per_s']:.1f}",
            f"{row['tokens_per_s']:,.0f}",
            f"{row['padding_share']:.0%}",
        ],
    ]
    return benchmark.draw_table(lines)


def _speed_up(told: dict[str, Any]) -> str:
    """The definitions with the measured numbers in them."""
    one, strong, weak = (
        told["figures"][name] for name in ("one_process", "strong", "weak")
    )
    num_ranks = told["environment"]["num_ranks"]
    ms, own_ms, speedup = strong["median_ms"], one["median_ms"], strong["speedup"]
    rate, own_rate = weak["samples_per_s"], one["samples_per_s"]
    lines = [
        ["what", "definition", "measured"],
        ["speed-up, strong", "T(1) / T(W)", f"{own_ms:.0f} / {ms:.0f} = {speedup:.3f}"],
        [
            "efficiency",
            "S / W",
            f"{speedup:.3f} / {num_ranks} = {strong['efficiency']:.2f}",
        ],
        [
            "serial fraction (Karp-Flatt)",
            "(1/S - 1/W) / (1 - 1/W)",
            f"(1/{speedup:.3f} - 1/{num_ranks}) / (1 - 1/{num_ranks}) = "
            f"{strong['serial_fraction']:.2f}",
        ],
        [
            "speed-up, weak",
            "rows/s of W ranks / rows/s of one",
            f"{rate:.1f} / {own_rate:.1f} = {weak['speedup']:.2f}",
        ],
    ]
    return benchmark.draw_table(lines)


def _where(told: dict[str, Any]) -> str:
    """Phase by phase: what W ranks take longer or shorter than one process."""
    one, strong = told["figures"]["one_process"], told["figures"]["strong"]
    lines = [["phase", "one process", "ranks", "difference"]]
    for phase in benchmark.PHASES:
        pair = [row["phases_ms"].get(phase, 0.0) for row in (one, strong)]
        shown = [f"{ms:.0f} ms" for ms in pair]
        lines.append([phase, *shown, f"{pair[1] - pair[0]:+.0f} ms"])
    return benchmark.draw_table(lines)


def _serving(told: dict[str, Any]) -> str:
    lines = [
        "| Server | Requests/s (slowest to fastest round) | p50 | p99 |",
        "|---|---|---|---|",
    ]
    names = {
        "distrinews": "`apps/api.py`, as it starts by default",
        "naive": "transformers pipeline in a FastAPI `def` route",
        "litserve": "the same pipeline in LitServe, batching on",
    }
    for name, row in told["figures"]["side_by_side"].items():
        lines.append(
            f"| {names[name]} | {row['per_s']:.0f} ({row['slowest_per_s']:.0f} to "
            f"{row['fastest_per_s']:.0f}) | {row['p50_ms']:.0f} ms "
            f"| {row['p99_ms']:.0f} ms |"
        )
    load = told["figures"]["overload"]
    lines += [
        "",
        f"At {load['offered_by_capacity']:.1f} times what it can do, for "
        f"{told['settings']['overload_s']:.0f} s:",
        "",
        f"- accepted {load['accepted']:,} requests, refused {load['refused']:,} with "
        f"503, left {load['neither']} without an answer",
        f"- p99 of the accepted {load['accepted_p99_s']:.2f} s (deadline "
        f"{load['deadline_s']:.0f} s), of the refused {load['refused_p99_s']:.2f} s",
        f"- resident memory {load['rss_mib_before']:.0f} MiB before, "
        f"{load['rss_mib_after']:.0f} MiB after",
        f"- two seconds after the flood: {load['refused_after_2_s']} refused, median "
        f"{load['median_ms_after_2_s']:.0f} ms (before: "
        f"{load['median_ms_before']:.0f} ms)",
    ]
    return "\n".join(lines)


RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "averaging": _averaging,
    "balance": lambda told: gain.table(told["figures"]),
    "data": _data,
    "peers": _peers,
    "scaling": _scaling,
    "serving": _serving,
    "trace": _trace,
}
VIEWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "one_process": _one_process,
    "speed_up": _speed_up,
    "where": _where,
}


def _what(told: dict[str, Any]) -> str:
    """What was measured, in a few words."""
    chosen = told["settings"]
    if told["kind"] == "serving":
        return (
            f"model {chosen['model']}, engine {chosen['engine']}, "
            f"{chosen['num_connections']} connections"
        )
    return (
        f"preset {chosen['preset']}, {chosen['global_batch_size']} rows a step over "
        f"{told['environment']['num_ranks']} ranks"
    )


def render(text: str) -> str:
    """Fill every block of a page.

    Args:
        text: The page.

    Returns:
        The page with its blocks renewed.
    """
    filled = BLOCK.sub(lambda match: _block(*match.groups()), text)
    return ALL.sub(lambda match: f"{match[1]}\n{_everybody()}\n\n{match[2]}", filled)


def _block(opening: str, name: str, view: str | None, closing: str) -> str:
    """One file's numbers, and where they come from."""
    if not (RESULTS / name).exists():
        return f"{opening}\nNot measured yet.\n\n{closing}"
    told = results.read(RESULTS / name)
    env = told["environment"]
    origin = (
        f"Measured on {told['date']}: {env['cpu']}, {env['num_cores']} cores, "
        f"torch {env['packages']['torch']}, {_what(told)}, "
        f"{told['settings']['num_rounds']} rounds in "
        f"turn ({name}, commit {told['commit'][:7]})."
    )
    shown = (VIEWS[view] if view else RENDERERS[told["kind"]])(told)
    return f"{opening}\n{shown}\n\n{origin}\n\n{closing}"


def _machine(name: str, told: dict[str, Any]) -> list[str]:
    """The line of one file."""
    env, settings, found = (
        told[part] for part in ("environment", "settings", "figures")
    )
    one, strong, weak = (found[way] for way in ("one_process", "strong", "weak"))
    gpus = env.get("device") == "cuda" and ", ".join(env["gpus"])
    return [
        name + " (noisy)" * any(row["noisy"] for row in (one, strong, weak)),
        gpus or f"{env['cpu']}, {env['num_cores']} cores",
        f"{settings['preset']}, {settings['global_batch_size']}",
        *(str(env["num_ranks"]), f"{one['median_ms']:.0f} ms"),
        f"{strong['median_ms']:.0f} ms",
        f"{strong['phases_ms'].get('communication', 0.0):.0f} ms",
        *(f"{strong['speedup']:.2f}x", f"{weak['speedup']:.2f}x"),
    ]


def _everybody() -> str:
    """A line for every machine that chapter 06 was measured on."""
    lines = [
        ["file", "machine", "model, rows a step", "ranks", "one process"]
        + ["ranks, same rows", "exposed", "speed-up", "weak"]
    ]
    for path in sorted(RESULTS.glob("scaling*.json")):
        told = results.check_publishable(path, noisy=True)
        if told["kind"] != "scaling":
            raise ResultError(
                f"{path} is named like a scaling file and measures {told['kind']!r}.",
                why="the page shows every scaling*.json.",
                fix="rename it.",
                page="benchmark-files",
            )
        try:
            lines.append(_machine(path.name, told))
        except (LookupError, TypeError, ValueError) as error:
            raise ResultError(
                f"{path} lacks what the page shows ({error!r}).",
                why="a line with holes compares nothing.",
                fix="measure again with this version's chapter 06.",
                page="benchmark-files",
            ) from None
    return benchmark.draw_table(lines)


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
