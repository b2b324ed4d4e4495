"""Measure what README's first command costs, for `benchmarks/results/quickstart.json`.

Chapter 05 runs as a reader starts it, some times one after the other; kept are the time
of each run, the most memory that all its processes held together, and the result of the
run with the median time. Then its model judges AG News. How long the first run of all
takes, with an empty cache, is what `capture_chapters.py` records.

`python site_docs/_tools/measure_quickstart.py --ag-news ../shared/data/ag_news` renews
the file, in about seven minutes on two cores; `--quick` shows in half a minute that it
still works, and writes elsewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import psutil
from records import RESULTS, ROOT

from distrinews.bench import timing
from distrinews.system import files, machine

COMMAND = "python chapters/05_ddp_training.py"
QUICK = ("--preset", "tiny", "--train-rows", "640")
POLL_S = 0.2


def run_once(folder: pathlib.Path, *flags: str) -> dict[str, Any]:
    """Run chapter 05 once, watched.

    Args:
        folder: Where its runs go; empty.
        *flags: Added to the command.

    Returns:
        `wall_s`; `peak_bytes`, resident, of all processes together (what they share
        counts for each); `folder` of the run; its `result`.

    Raises:
        SystemExit: It failed.
    """
    # WHY without: what a reader starts has no setting of ours.
    dropped = ("OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM")
    env = {name: value for name, value in os.environ.items() if name not in dropped}
    script = ROOT / "chapters" / "05_ddp_training.py"
    began_s, peak_bytes = time.monotonic(), 0
    with subprocess.Popen(
        (sys.executable, str(script), *flags), cwd=folder, env=env, text=True
    ) as program:
        watched = psutil.Process(program.pid)
        while program.poll() is None:
            peak_bytes = max(peak_bytes, _resident_bytes(watched))
            time.sleep(POLL_S)
    wall_s = time.monotonic() - began_s
    if program.returncode:
        raise SystemExit(f"chapter 05 ended with {program.returncode}")
    [run] = (folder / "runs").iterdir()
    return {
        "wall_s": round(wall_s, 1),
        "peak_bytes": peak_bytes,
        "folder": run,
        "result": files.read_json(run / "result.json"),
    }


def _resident_bytes(program: psutil.Process) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        for process in (program, *program.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def judge(run: pathlib.Path, *, data: str, out: pathlib.Path) -> dict[str, Any]:
    """Let a run's model classify AG News's test rows.

    Args:
        run: The run's folder.
        data: AG News, as `--data` names it.
        out: A file for the figures.

    Returns:
        Rows, accuracy and the command.
    """
    words = ("-m", "distrinews", "evaluate", "--data", data, "--num-ranks", "2")
    arguments = (*words, "--model", str(run), "--json", str(out))
    subprocess.run((sys.executable, *arguments), check=True)
    figures = json.loads(out.read_text(encoding="utf-8"))
    return {
        "rows": figures["rows"],
        "accuracy": round(figures["accuracy"], 4),
        "command": f"python {' '.join(words)} --model RUN",
    }


def main() -> int:
    """Measure and write.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ag-news", required=True, help="a folder or the Hub's name")
    parser.add_argument("--rounds", type=int, default=timing.FEWEST_ROUNDS)
    parser.add_argument("--quick", action="store_true", help="a tiny model, one run")
    given = parser.parse_args()
    flags, rounds = (QUICK, 1) if given.quick else ((), given.rounds)
    with tempfile.TemporaryDirectory() as scratch:
        runs = []
        for number in range(rounds):
            folder = pathlib.Path(scratch, str(number))
            folder.mkdir()
            runs.append(run_once(folder, *flags))
        middle = statistics.median_low(run["wall_s"] for run in runs)
        kept = next(run for run in runs if run["wall_s"] == middle)
        ag_news = judge(
            kept["folder"], data=given.ag_news, out=pathlib.Path(scratch, "judged.json")
        )
        peak_gib = max(run["peak_bytes"] for run in runs) / 2**30
        record = {
            "command": " ".join((COMMAND, *flags)),
            "repetitions": rounds,
            "wall_s": kept["wall_s"],
            "all_wall_s": [run["wall_s"] for run in runs],
            "peak_rss_all_processes_gib": round(peak_gib, 2),
            "ag_news_test": ag_news,
            "environment": machine.describe() | {"num_ranks": 2},
            "result": kept["result"],
        }
    folder = pathlib.Path(tempfile.gettempdir()) if given.quick else RESULTS
    path = folder / "quickstart.json"
    files.write_json(path, record)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
