"""The figures that we show first, each from its committed record.

One table for `benchmarks/index.md`, and some of its rows for the README, so that both
show the same numbers. A ratio has its interval beside it, or is "no difference", or
says how few rounds it comes from (`distrinews.bench.timing.ratio_text`).

Not here: the pages' other tables (`measured_blocks`).
"""

from __future__ import annotations

import re
import statistics
from typing import Any

from records import capture, captured_text
from records import record as _read

from distrinews.bench import (
    averaging,
    grad_sync,
    length_balance,
    peer_report,
    scaling,
    timing,
    trace_overhead,
)

__all__ = [
    "QUICKSTART",
    "captured_phase_s",
    "first_run",
    "ladder",
    "serving_ratios",
    "short_table",
    "steps",
    "table",
]

QUICKSTART = "05_ddp_training"  # the capture of what README's first command starts
NAIVE = ("naive", "naive_one_thread")
# How the rows of the README's table begin.
SHORT = (
    *("chapter 05, from start", "accuracy on", "our hand-written overlapped"),
    *("two ranks against", "chapter 05, as started", "a step's time"),
)


def ladder() -> dict[str, dict[str, Any]]:
    """Read chapter 04's record, every variant against DDP in its best setting."""
    # WHY again from the rounds: a file from before compares with another setting.
    rungs = _read("sync_ladder")["figures"]["rungs"]
    return grad_sync.figures(
        {name: row["all_ms"] for name, row in rungs.items()},
        {name: row["max_abs_diff"] for name, row in rungs.items()},
    )


def serving_ratios(record: dict[str, Any]) -> dict[str, str]:
    """Set our server's requests per second against each other server's.

    Args:
        record: What `tests/load.py` wrote.

    Returns:
        Name of a server -> the ratio in words; "1" for our own.
    """
    servers = record["figures"]["side_by_side"]
    return {
        name: "1" if name == "distrinews" else _serving_ratio(record, name)
        for name in servers
    }


def _serving_ratio(record: dict[str, Any], name: str) -> str:
    ours, theirs = (
        record["figures"]["side_by_side"][server] for server in ("distrinews", name)
    )
    if "rounds_per_s" not in theirs:  # a file from before they were kept
        ratio = ours["per_s"] / theirs["per_s"]
        rounds = record["settings"]["num_rounds"]
        return timing.ratio_text(ratio, None, num_rounds=rounds)
    pairs = zip(ours["rounds_per_s"], theirs["rounds_per_s"], strict=True)
    ratios = [our_rate / their_rate for our_rate, their_rate in pairs]
    ratio, interval = timing.median_and_interval(ratios)
    return timing.ratio_text(ratio, interval, num_rounds=len(ratios))


def table(prefix: str) -> str:
    """Draw the table.

    Args:
        prefix: What leads from the file that shows it to the folder of the pages.

    Returns:
        Markdown.
    """
    return _drawn([*_quickstart_rows(), *_training_rows(), *_serving_rows()], prefix)


def short_table(prefix: str) -> str:
    """Draw the README's table: some rows of `table`.

    Args:
        prefix: As for `table`.

    Returns:
        Markdown.
    """
    rows = [*_quickstart_rows(), *_training_rows()]
    return _drawn([row for row in rows if row[0].startswith(SHORT)], prefix)


def _drawn(rows: list[tuple[str, str, str]], prefix: str) -> str:
    lines = ["| figure | value |", "|---|---|"]
    for figure, link, value in rows:
        lines.append(f"| {figure} ([measured]({prefix}{link})) | {value} |")
    return "\n".join(lines)


def _quickstart_rows() -> list[tuple[str, str, str]]:
    record, run = _read("quickstart"), capture(QUICKSTART)
    link, ag_news = "benchmarks/results/quickstart.json", record["ag_news_test"]
    return [
        (
            "chapter 05, from start to classified headlines, one run",
            "start/first-run.md#what-is-printed",
            f"{run['seconds']:.0f} s",
        ),
        (
            "resident memory, all processes together",
            link,
            f"{record['peak_rss_all_processes_gib']:.2f} GiB",
        ),
        (
            f"accuracy on {record['result']['test_rows']:,} newswire test rows",
            link,
            f"{record['result']['accuracy']:.1%}",
        ),
        (
            f"accuracy on all {ag_news['rows']:,} real AG News test rows, trained on "
            "newswire alone",
            link,
            f"{ag_news['accuracy']:.1%}",
        ),
    ]


def _training_rows() -> list[tuple[str, str, str]]:
    balance, averaged, fit = (
        _read(name)["figures"] for name in ("balance", "averaging", "calibration")
    )
    rungs, peers = ladder(), _read("peers")["figures"]
    bits = averaged["both"]["max_abs_diff"] == rungs["overlapped"]["max_abs_diff"] == 0
    same_bits = ", same bits" if bits else ""
    return [
        (
            "batches balanced by length against shuffled ones, real AG News, 32 and 16 "
            "rows per rank, samples/s",
            "benchmarks/peers.md#balanced-batches-alone",
            " and ".join(
                length_balance.ratio_of(balance[f"torch_ddp_{rows}"])
                for rows in (32, 16)
            )
            + ", same loss within noise",
        ),
        (
            "our hand-written overlapped gradient averaging against torch DDP in its "
            "best setting (`gradient_as_bucket_view=True`), step time",
            "understand/gradient-sync.md#the-numbers-for-our-model",
            grad_sync.ratio_to_ddp("overlapped", rungs["overlapped"]) + same_bits,
        ),
        (
            "averaging through shared memory, touched embedding rows only, against "
            "torch DDP in the same setting, step time",
            "understand/faster-than-ddp.md",
            averaging.ratio_to_ddp(averaged, "both") + same_bits,
        ),
        (
            "two ranks against one process with two threads, same two cores, samples/s",
            "benchmarks/scaling.md",
            scaling.speedup_text(_read("scaling")["figures"], "strong")
            + ": here DDP does not pay, and chapter 06 says why",
        ),
        *(
            (
                f"{peer_report.TITLES[name]}, as started, against Hugging Face's "
                "Trainer with its defaults, and grouped by length, samples/s "
                f"({peers[name]['samples_per_s']:.1f} against "
                f"{peers['trainer']['samples_per_s']:.1f} and "
                f"{peers['trainer_grouped']['samples_per_s']:.1f})",
                "benchmarks/peers.md#as-a-user-starts-them",
                " and ".join(
                    peer_report.ratio(peers[name], peers[peer])
                    for peer in ("trainer", "trainer_grouped")
                ),
            )
            for name in ("ours", "ours_shared")
        ),
        (
            "a step's time, predicted from a short calibration, "
            f"{len(fit['held_out'])} settings it was not fitted to",
            "benchmarks/cost-model.md",
            f"{fit['median_error']:.1%} median error, "
            f"{fit['worst_error']:.1%} at worst",
        ),
        (
            "recording what every rank does, step time",
            "understand/timeline.md",
            trace_overhead.ratio_to_bare(_read("trace")["figures"]),
        ),
    ]


def _serving_rows() -> list[tuple[str, str, str]]:
    record, engines = _read("serving"), _read("engines")["figures"]
    servers, ratios = record["figures"]["side_by_side"], serving_ratios(record)
    best = max(servers.keys() & NAIVE, key=lambda name: servers[name]["per_s"])
    independent = _read("independent")["serving"]["ratio_to_naive"]
    starts, int8 = engines["starts"]["later, onnx-int8"], engines["onnx-int8"]
    return [
        (
            "requests/s of `apps/api.py` with its defaults, against a pipeline in a "
            "plain FastAPI route, and against LitServe; client (wrk) on the same two "
            "cores",
            "benchmarks/serving.md",
            f"{ratios[best]} and {ratios['litserve']}; measured independently "
            f"{independent}x a plain route",
        ),
        (
            f"int8 against torch float32, {int8['num_texts']:,} AG News test rows",
            "understand/training-and-inference.md",
            f"{int8['accuracy']:.1%} and {int8['reference_accuracy']:.1%} accuracy; "
            f"{int8['ms_per_text']:.1f} ms and {int8['reference_ms_per_text']:.1f} ms "
            f"per text; ready in {statistics.median(starts['ready_s']):.1f} s, "
            f"{statistics.median(starts['resident_bytes']) / 2**20:.0f} MiB",
        ),
    ]


def first_run() -> str:
    """Show what the first command printed, without its bars, and which run it is."""
    lines = captured_text(QUICKSTART).splitlines()
    text = "\n".join(line for line in lines if "%|" not in line).strip("\n")
    run = capture(QUICKSTART)
    env = run["environment"]
    return (
        f"```\n{text}\n```\n\n(Progress bars left out. Our run of {run['date']}: "
        f"{env['cpu']}, {env['num_cores']} cores, torch {env['packages']['torch']}; "
        f"{run['seconds']:.0f} s, everything included.)"
    )


def steps() -> str:
    """List the step times that the pages show, so that nobody takes one for another."""
    scaled, averaged, traced, fitted = (
        _read(name) for name in ("scaling", "averaging", "trace", "calibration")
    )
    [row] = [
        row
        for row in fitted["figures"]["held_out"]
        if (row["model"], row["world_size"]) == ("minilm", 2)
        and (row["rows"], row["tokens"]) == (16, 48)
    ]
    unsorted, middle = "newswire, unsorted", "newswire, by length, a middle batch"
    first = f"newswire, by length, {averaging.NUM_BATCHES} batches"
    whole = "forward, backward, clipping, AdamW"
    best = grad_sync.BASELINE
    lines = [["record", "what a step is", "rows", "two ranks", "measured on"]]
    for name, record, what, rows, ms in (
        (
            "scaling.json",
            scaled,
            whole,
            middle,
            scaled["figures"]["strong"]["median_ms"],
        ),
        (
            "averaging.json",
            averaged,
            whole,
            first,
            averaged["figures"]["torch_ddp"]["median_ms"],
        ),
        ("trace.json", traced, whole, middle, traced["figures"]["bare"]["median_ms"]),
        (
            "sync_ladder.json",
            _read("sync_ladder"),
            "forward, backward",
            unsorted,
            ladder()[best]["median_ms"],
        ),
        ("calibration.json", fitted, whole, "48 tokens each", row["measured_ms"]),
    ):
        env = record["environment"]
        on = f"{record['date']}, {env['cpu']}"
        lines.append([name, what, rows, f"{ms:.0f} ms", on])
    for name, what, rows, ms in (
        ("06_ddp_benchmark", whole, middle, _captured_step_ms("06_ddp_benchmark")),
        (
            QUICKSTART,
            "all of chapter 05's training",
            "newswire, by length",
            1000 * captured_phase_s("train") / _captured_steps(),
        ),
    ):
        run = capture(name)
        on = f"{run['date']}, {run['environment']['cpu']}"
        lines.append([f"the chapter's page, {name}", what, rows, f"{ms:.0f} ms", on])
    return timing.draw_table(lines)


def _captured_step_ms(name: str) -> float:
    [ms] = re.findall(r"2 ranks, same rows +\| (\d+) ms", captured_text(name))
    return float(ms)


def captured_phase_s(phase: str) -> float:
    """Seconds of a phase of the captured first run, by its name in the output."""
    [seconds] = re.findall(rf"[;,] {phase} ([\d.]+) s\b", captured_text(QUICKSTART))
    return float(seconds)


def _captured_steps() -> int:
    """How many steps the captured first run took; it has one epoch."""
    [num_steps] = re.findall(r"^step (\d+):", captured_text(QUICKSTART), re.MULTILINE)
    return int(num_steps)
