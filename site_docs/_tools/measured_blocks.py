"""What the pages show of a committed record: its table, and where it comes from.

Promise: no number on a page is typed; each is drawn here from the record that a
measuring command wrote. Not here: which page shows what (`benchmark_pages`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import measure_engines

from distrinews.bench import (
    averaging,
    datapath,
    length_balance,
    peer_report,
    scaling,
    timing,
    trace_overhead,
)
from distrinews.bench.costmodel import calibration, many_ranks, report

__all__ = ["draw", "origin"]


def _averaging(told: dict[str, Any]) -> str:
    return averaging.table(told["figures"])


def _scaling(told: dict[str, Any]) -> str:
    num_ranks = told["environment"]["num_ranks"]
    shown = scaling.table(told["figures"], world_size=num_ranks)
    words = scaling.explain(told["figures"], world_size=num_ranks)
    listed = "\n".join(f"- {line}" for line in words.splitlines())
    return f"{shown}\n\n{listed}"


def _one_process(told: dict[str, Any]) -> str:
    row = told["figures"]["one_process"]
    phases = [f"{row['phases_ms'].get(p, 0.0):.0f} ms" for p in timing.PHASES]
    lines = [
        ["threads", "step", *timing.PHASES, "samples/s", "tokens/s", "padding"],
        [
            *(str(row["threads"][0]), f"{row['median_ms']:.0f} ms", *phases),
            f"{row['samples_per_s']:.1f}",
            f"{row['tokens_per_s']:,.0f}",
            f"{row['padding_share']:.0%}",
        ],
    ]
    return timing.draw_table(lines)


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
    return timing.draw_table(lines)


def _where(told: dict[str, Any]) -> str:
    """Phase by phase: what W ranks take longer or shorter than one process."""
    one, strong = told["figures"]["one_process"], told["figures"]["strong"]
    lines = [["phase", "one process", "ranks", "difference"]]
    for phase in timing.PHASES:
        pair = [row["phases_ms"].get(phase, 0.0) for row in (one, strong)]
        shown = [f"{ms:.0f} ms" for ms in pair]
        lines.append([phase, *shown, f"{pair[1] - pair[0]:+.0f} ms"])
    return timing.draw_table(lines)


def _trace(told: dict[str, Any]) -> str:
    parts = (
        trace_overhead.table(told["figures"]),
        timing.noise_warning(told["figures"]),
    )
    return "\n\n".join(filter(None, parts))


def _peers(told: dict[str, Any]) -> str:
    num_rows = told["settings"]["validation_rows"]
    return peer_report.table(told["figures"], num_rows=num_rows)


def _data(told: dict[str, Any]) -> str:
    found = told["figures"]
    return (
        f"{datapath.table(found)}\n\nMost by least over these sizes: memory "
        f"{found['memory_ratio']:.2f}x, time per row {found['time_ratio']:.2f}x; the "
        f"same rows again {found['same_rows_ratio']:.2f}x, one by one "
        f"{found['one_by_one_ratio']:.2f}x."
    )


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
    per_s = f"{load['offered_per_s']:,.0f} offered, {load['accepted_per_s']:.0f}"
    share = f"{load['accepted_by_capacity']:.0%} of what it answers without a flood"
    lines += [
        "",
        f"At {load['offered_by_capacity']:.1f} times what it can do, for "
        f"{told['settings']['overload_s']:.0f} s:",
        "",
        f"- a second: {per_s} accepted, {share} ({load['how']})",
        f"- accepted {load['accepted']:,} requests, refused {load['refused']:,} with "
        f"503, left {load['neither']} without an answer",
        f"- p99 of the accepted {load['accepted_p99_s']:.2f} s (deadline "
        f"{load['deadline_s']:.0f} s), of the refused {load['refused_p99_s']:.2f} s",
        f"- resident memory {load['rss_mib_before']:.0f} MiB before, "
        f"{load['rss_mib_at_a_quarter']:.0f} MiB a quarter into it, "
        f"{load['rss_mib_after']:.0f} MiB at its end",
        f"- two seconds after the flood: {load['refused_after_2_s']} refused, median "
        f"{load['median_ms_after_2_s']:.0f} ms (before: "
        f"{load['median_ms_before']:.0f} ms)",
    ]
    return "\n".join(lines)


def _without(told: dict[str, Any]) -> str:
    lines = [["the model without", "median error", "worst error"]]
    whole = {"nothing left out": told["figures"]}
    for term, row in (whole | told["figures"]["without"]).items():
        errors = (row["median_error"], row["worst_error"])
        lines.append([term, *(f"{error:.1%}" for error in errors)])
    return timing.draw_table(lines)


def _links(told: dict[str, Any]) -> str:
    lines = [["ranks", "alpha", "bandwidth", "contention", "meeting"]]
    for row in told["figures"]["fitted"]["links"]:
        lines.append([
            str(row["world_size"]),
            f"{1000 * row['alpha_s']:.2f} ms",
            f"{row['bytes_per_s'] / 1e9:.2f} GB/s",
            f"{row['contention']:.2f}",
            f"{1000 * row['meeting_s']:.1f} ms",
        ])
    return timing.draw_table(lines)


def _t4(told: dict[str, Any]) -> str:
    return "**Predicted, not measured.**\n\n" + report.t4_table(told["figures"]["t4"])


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
                f"## {model}, {title}",
                many_ranks.table(rows),
                "Exposed communication round a ring is more than a quarter of the "
                f"step: possibly {at['possibly']}, certainly {at['certainly']}.",
            ]
    return "\n\n".join(shown)


def _sources(told: dict[str, Any]) -> str:
    known = told["figures"]["published"]
    shown = ["The pair of T4:", report.sources(known["t4_pair"])]
    for where in ("t4_ethernet", "a100_efa"):
        title = many_ranks.SCENARIOS[where].title
        other = {k: v for k, v in known[where].items() if v != known["t4_pair"][k]}
        shown += [f"Else for {title}:", report.sources(other)]
    return "\n\n".join(shown)


def _lighthouse(told: dict[str, Any]) -> str:
    kinds = ("performance", "accessibility", "best-practices")
    lines = [["page", *kinds]]
    for page, row in told["figures"].items():
        lines.append([f"`{page}`", *(f"{row[kind]:.0f}" for kind in kinds)])
    return timing.draw_table(lines)


# Kind, or kind and view -> what draws it.
VIEWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "averaging": _averaging,
    "balance": lambda told: length_balance.table(told["figures"]),
    "calibration": lambda told: calibration.table(told["figures"]),
    "calibration links": _links,
    "calibration without": _without,
    "data": _data,
    "engines": measure_engines.table,
    "lighthouse": _lighthouse,
    "peers": _peers,
    "prediction many_ranks": _many_ranks,
    "prediction sources": _sources,
    "prediction t4": _t4,
    "scaling": _scaling,
    "scaling one_process": _one_process,
    "scaling speed_up": _speed_up,
    "scaling where": _where,
    "serving": _serving,
    "trace": _trace,
}


def draw(told: dict[str, Any], *, view: str | None) -> str:
    """Draw a record, or one view of it.

    Args:
        told: The record.
        view: Which part; None for the usual one.

    Returns:
        Markdown.
    """
    return VIEWS[" ".join(filter(None, (told["kind"], view)))](told)


def origin(name: str, told: dict[str, Any]) -> str:
    """Say where a record's numbers come from.

    Args:
        name: Its file.
        told: The record.

    Returns:
        A sentence.
    """
    env = told["environment"]
    at = f"({name}, commit {told['commit'][:7]})"
    if told["kind"] == "prediction":
        return f"Predicted on {told['date']} from published figures {at}."
    hardware = ", ".join([*(env.get("gpus") or []), env["cpu"]])
    return (
        f"Measured on {told['date']}: {hardware}, {env['num_cores']} cores, "
        f"torch {env['packages']['torch']}, {_what(told)} {at}."
    )


def _what(told: dict[str, Any]) -> str:
    """What was measured, in a few words."""
    chosen, num_ranks = told["settings"], told["environment"]["num_ranks"]
    rounds = f"{chosen.get('num_rounds')} round(s)"
    if told["kind"] == "serving":
        return (
            f"model {chosen['model']}, engine {chosen['engine']}, "
            f"{chosen['num_connections']} connections, {rounds} in turn"
        )
    if told["kind"] == "engines":
        run, starts = chosen["model"]["run_id"], chosen["num_starts"]
        return f"model {run}, each start {starts} times"
    if told["kind"] == "lighthouse":
        return (
            f"Lighthouse {chosen['lighthouse']} ({chosen['form']}), the median of "
            f"{chosen['num_runs']} runs, each of 100 points"
        )
    if told["kind"] == "calibration":
        return f"preset {chosen['preset']}, 1 to {num_ranks} ranks, {rounds}"
    return (
        f"preset {chosen['preset']}, {chosen['global_batch_size']} rows a step over "
        f"{num_ranks} ranks, {rounds} in turn"
    )
