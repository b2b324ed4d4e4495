"""What the pages show of a committed record: its table, and where it comes from.

Promise: no number on a page is typed; each is drawn here from the record that a
measuring command wrote. Not here: which page shows what (`benchmark_pages`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import charts
import headlines
import measure_engines
from charts import Bar

from distrinews.bench import (
    averaging,
    datapath,
    length_balance,
    peer_report,
    scaling,
    step_limit,
    timing,
    trace_overhead,
)
from distrinews.bench.costmodel import calibration, many_ranks, report
from distrinews.system import console

__all__ = ["draw", "origin"]


def _averaging(record: dict[str, Any]) -> str:
    shown = record["figures"]
    return f"{averaging.table(shown)}\n\n{averaging.saved_text(shown)}".rstrip()


def _scaling(record: dict[str, Any]) -> str:
    num_ranks = record["environment"]["num_ranks"]
    table = scaling.table(record["figures"], world_size=num_ranks)
    explanation = scaling.explain(record["figures"], world_size=num_ranks)
    bullets = "\n".join(f"- {line}" for line in explanation.splitlines())
    return f"{table}\n\n{bullets}"


def _scaling_chart(record: dict[str, Any]) -> str:
    """Where the milliseconds of each way of taking a step go."""
    num_ranks = record["environment"]["num_ranks"]
    titles = {
        "one_process": "one process",
        "strong": f"{num_ranks} ranks, same rows",
        "weak": f"{num_ranks} ranks, same rows each",
    }
    lines = [
        Bar(
            title,
            [record["figures"][name]["phases_ms"].get(p, 0.0) for p in timing.PHASES],
            f"{record['figures'][name]['median_ms']:.0f} ms",
        )
        for name, title in titles.items()
    ]
    names = [
        "exposed communication" if p == "communication" else p for p in timing.PHASES
    ]
    return charts.bars("Milliseconds of a step, by phase", lines, names=names)


def _speed_up(record: dict[str, Any]) -> str:
    """The definitions with the measured numbers in them."""
    one_process, strong, weak = (
        record["figures"][name] for name in ("one_process", "strong", "weak")
    )
    num_ranks = record["environment"]["num_ranks"]
    ms, own_ms, speedup = (
        strong["median_ms"],
        one_process["median_ms"],
        strong["speedup"],
    )
    rate, own_rate = weak["samples_per_s"], one_process["samples_per_s"]
    lines = [
        ["what", "definition", "measured"],
        ["speed-up, strong", "T(1) / T(W)", f"{own_ms:.0f} / {ms:.0f} = {speedup:.3f}"],
        [
            "with its interval",
            "of the rounds' own ratios",
            scaling.speedup_text(record["figures"], "strong"),
        ],
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


def _trace(record: dict[str, Any]) -> str:
    parts = (
        trace_overhead.table(record["figures"]),
        timing.noise_warning(record["figures"]),
    )
    return "\n\n".join(filter(None, parts))


def _peers(record: dict[str, Any]) -> str:
    num_rows = record["settings"]["validation_rows"]
    return peer_report.table(record["figures"], num_rows=num_rows)


def _peers_chart(record: dict[str, Any]) -> str:
    lines = [
        Bar(title, [row["samples_per_s"]], f"{row['samples_per_s']:.1f}")
        for name, title in peer_report.TITLES.items()
        # What the table has no line for, either.
        if not name.startswith("whole_") and (row := record["figures"].get(name))
    ]
    return charts.bars("Samples per second, more is better", lines)


def _limit(record: dict[str, Any]) -> str:
    shown = record["figures"]
    return f"{step_limit.table(shown)}\n\n{step_limit.sentence(shown)}"


def _data(record: dict[str, Any]) -> str:
    figures = record["figures"]
    return (
        f"{datapath.table(figures)}\n\nMost by least over these sizes: memory "
        f"{figures['memory_ratio']:.2f}x, time per row {figures['time_ratio']:.2f}x; "
        f"the same rows again {figures['same_rows_ratio']:.2f}x, one by one "
        f"{figures['one_by_one_ratio']:.2f}x."
    )


SERVERS = {
    "distrinews": "`apps/api.py`, as it starts by default",
    "naive": "transformers pipeline in a FastAPI `def` route",
    "naive_one_thread": "the same route, one torch thread per request",
    "litserve": "the same pipeline in LitServe, batching on",
}


def _serving_chart(record: dict[str, Any]) -> str:
    lines = [
        Bar(SERVERS[name].replace("`", ""), [row["per_s"]], f"{row['per_s']:.0f}")
        for name, row in record["figures"]["side_by_side"].items()
    ]
    return charts.bars("Requests per second, more is better", lines)


def _serving(record: dict[str, Any]) -> str:
    lines = [
        "| Server | Requests/s (slowest to fastest round) | ours by it | p50 | p99 |",
        "|---|---|---|---|---|",
    ]
    ratios = headlines.serving_ratios(record)
    for name, row in record["figures"]["side_by_side"].items():
        lines.append(
            f"| {SERVERS[name]} | {row['per_s']:.0f} ({row['slowest_per_s']:.0f} to "
            f"{row['fastest_per_s']:.0f}) | {ratios[name]} | {row['p50_ms']:.0f} ms "
            f"| {row['p99_ms']:.0f} ms |"
        )
    load = record["figures"]["overload"]
    per_s = f"{load['offered_per_s']:,.0f} offered, {load['accepted_per_s']:.0f}"
    share = f"{load['accepted_by_capacity']:.0%} of what it answers without a flood"
    lines += [
        "",
        f"At {load['offered_by_capacity']:.1f} times what it can do, for "
        f"{record['settings']['overload_s']:.0f} s:",
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


def _left_out_terms(record: dict[str, Any]) -> str:
    lines = [["the model without", "median error", "worst error"]]
    full_model = {"nothing left out": record["figures"]}
    for term, row in (full_model | record["figures"]["without"]).items():
        errors = (row["median_error"], row["worst_error"])
        lines.append([term, *(f"{error:.1%}" for error in errors)])
    return timing.draw_table(lines)


def _links(record: dict[str, Any]) -> str:
    lines = [["ranks", "alpha", "bandwidth", "contention", "meeting"]]
    for row in record["figures"]["fitted"]["links"]:
        lines.append([
            str(row["world_size"]),
            f"{1000 * row['alpha_s']:.2f} ms",
            f"{row['bytes_per_s'] / 1e9:.2f} GB/s",
            f"{row['contention']:.2f}",
            f"{1000 * row['meeting_s']:.1f} ms",
        ])
    return timing.draw_table(lines)


def _t4(record: dict[str, Any]) -> str:
    return "**Predicted, not measured.**\n\n" + report.t4_table(record["figures"]["t4"])


def _many_ranks(record: dict[str, Any]) -> str:
    parts = ["**Predicted, not measured.**"]
    for model, scenarios in record["figures"]["many_ranks"].items():
        for name, rows in scenarios.items():
            stops = many_ranks.stops_hiding(rows)
            at = {
                word: f"from {ranks} ranks on" if ranks else "at none of these"
                for word, ranks in stops.items()
            }
            title = many_ranks.SCENARIOS[name].title
            parts += [
                f"## {model}, {title}",
                many_ranks.table(rows),
                "Exposed communication round a ring is more than a quarter of the "
                f"step: possibly {at['possibly']}, certainly {at['certainly']}.",
            ]
    return "\n\n".join(parts)


def _sources(record: dict[str, Any]) -> str:
    published = record["figures"]["published"]
    parts = ["The pair of T4:", report.sources(published["t4_pair"])]
    for scenario in ("t4_ethernet", "a100_efa"):
        title = many_ranks.SCENARIOS[scenario].title
        differing = {
            k: v for k, v in published[scenario].items() if v != published["t4_pair"][k]
        }
        parts += [f"Else for {title}:", report.sources(differing)]
    return "\n\n".join(parts)


def _lighthouse(record: dict[str, Any]) -> str:
    kinds = ("performance", "accessibility", "best-practices")
    lines = [["page", *kinds]]
    for page, row in record["figures"].items():
        lines.append([f"`{page}`", *(f"{row[kind]:.0f}" for kind in kinds)])
    return timing.draw_table(lines)


# Kind, or kind and view -> what draws it.
VIEWS: dict[str, Callable[[dict[str, Any]], str]] = {
    "averaging": _averaging,
    "balance": lambda record: length_balance.table(record["figures"]),
    "calibration": lambda record: calibration.table(record["figures"]),
    "calibration links": _links,
    "calibration without": _left_out_terms,
    "data": _data,
    "engines": measure_engines.table,
    "lighthouse": _lighthouse,
    "limit": _limit,
    "peers": _peers,
    "peers chart": _peers_chart,
    "peers parts": lambda record: peer_report.parts(record["figures"]),
    "prediction many_ranks": _many_ranks,
    "prediction sources": _sources,
    "prediction t4": _t4,
    "scaling": _scaling,
    "scaling chart": _scaling_chart,
    "scaling speed_up": _speed_up,
    "serving": _serving,
    "serving chart": _serving_chart,
    "trace": _trace,
}


# WHY: a two-rank step of minilm has another time on each page that shows one.
STEP_NOTES = dict.fromkeys(
    ("averaging", "calibration", "limit", "scaling", "trace"),
    " Other pages show other runs: compare times within this table only.",
)


def draw(record: dict[str, Any], *, view: str | None) -> str:
    """Draw a record, or one view of it.

    Args:
        record: The record.
        view: Which part; None for the usual one.

    Returns:
        Markdown.
    """
    return VIEWS[" ".join(filter(None, (record["kind"], view)))](record)


def origin(name: str, record: dict[str, Any]) -> str:
    """Say where a record's numbers come from.

    Args:
        name: Its file.
        record: The record.

    Returns:
        A sentence.
    """
    env = record["environment"]
    at = f"({name}, commit {record['commit'][:7]})"
    if record["kind"] == "prediction":
        return f"Predicted on {record['date']} from published figures {at}."
    hardware = ", ".join([*(env.get("gpus") or []), env["cpu"]])
    return (
        f"Measured on {record['date']}: {hardware}, {env['num_cores']} cores, "
        f"torch {env['packages']['torch']}, {_run_description(record)} {at}."
        f"{STEP_NOTES.get(record['kind'], '')}"
    )


def _run_description(record: dict[str, Any]) -> str:
    """What was measured, in a few words."""
    settings, num_ranks = record["settings"], record["environment"]["num_ranks"]
    rounds = console.counted(settings.get("num_rounds", 0), "round")
    if record["kind"] == "serving":
        return (
            f"model {settings['model']}, engine {settings['engine']}, "
            f"{settings['num_connections']} connections, {rounds} in turn"
        )
    if record["kind"] == "engines":
        run, starts = settings["model"]["run_id"], settings["num_starts"]
        return f"model {run}, each start {starts} times"
    if record["kind"] == "lighthouse":
        return (
            f"Lighthouse {settings['lighthouse']} ({settings['form']}), the median of "
            f"{settings['num_runs']} runs, each of 100 points"
        )
    if record["kind"] == "calibration":
        return f"preset {settings['preset']}, 1 to {num_ranks} ranks, {rounds}"
    return (
        f"preset {settings['preset']}, {settings['global_batch_size']} rows per step "
        f"over {num_ranks} ranks, {rounds} in turn"
    )
