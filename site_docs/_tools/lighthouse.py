"""Let Lighthouse look at three pages of a built site, and keep what it says.

`python site_docs/_tools/lighthouse.py SITE --json FILE.json` serves the folder SITE on
this machine and runs `npx lighthouse@12` (it needs Node.js and a Chromium) on three
pages: the first one, a chapter, and a concept with a widget. It looks as Lighthouse
does by default: a telephone of middle class on a slow network, simulated.

WHY version 12: 13 needs a newer Node.js than Debian has. WHY the median of several
runs: points for performance come from times, and vary with what else a machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import docs_site

from distrinews.bench import results

CATEGORIES = ("performance", "accessibility", "best-practices")
PAGES = ("", "learn/ddp-training/", "understand/ring-all-reduce/")
VERSION = "12"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def missing_tool() -> str:
    """What is missing here, in a sentence; empty if Lighthouse can run."""
    if shutil.which("npx") is None:
        return "npx is not installed (it comes with Node.js)"
    if CHROMIUM is None:
        return "no chromium on this machine"
    return ""


def run_lighthouse(address: str) -> dict[str, Any]:
    """Run Lighthouse once on a page; SystemExit if it cannot be fetched, or fails."""
    with tempfile.TemporaryDirectory() as folder:
        report_path = pathlib.Path(folder) / "report.json"
        completed = subprocess.run(
            [
                *("npx", "--yes", f"lighthouse@{VERSION}", address, "--quiet"),
                *("--output", "json", "--output-path", str(report_path)),
                f"--only-categories={','.join(CATEGORIES)}",
                "--chrome-flags=--headless=new --no-sandbox --disable-gpu",
            ],
            env=os.environ | {"CHROME_PATH": str(CHROMIUM)},
            capture_output=True,
            encoding="utf-8",
            timeout=240,
            check=False,
        )
        if completed.returncode or not report_path.is_file():
            raise SystemExit(f"lighthouse failed: {completed.stderr[-2000:]}")
        report: dict[str, Any] = json.loads(report_path.read_text(encoding="utf-8"))
        return report


def scores(reports: list[dict[str, Any]]) -> dict[str, float]:
    """Points of 100 by category, the median of several reports on a page."""
    return {
        name: statistics.median(
            round(100 * report["categories"][name]["score"]) for report in reports
        )
        for name in CATEGORIES
    }


def failed_audits(report: dict[str, Any]) -> list[str]:
    """The audits that were not passed in full: what cost points."""
    return [
        f"{name}: {audit['score']} {audit.get('displayValue', '')}".strip()
        for name, audit in report["audits"].items()
        if audit.get("score") is not None and audit["score"] < 0.9
    ]


def measure(site: pathlib.Path, *, num_runs: int) -> dict[str, Any]:
    """Look at the three pages of a built site, several times each, in turn."""
    reports_by_page: dict[str, list[dict[str, Any]]] = {page: [] for page in PAGES}
    with docs_site.served(site) as address:
        for _ in range(num_runs):
            for page, reports in reports_by_page.items():
                reports.append(run_lighthouse(f"{address}/{page}"))
    figures = {
        page or "/": scores(reports) | {"below_90": failed_audits(reports[0])}
        for page, reports in reports_by_page.items()
    }
    version = reports_by_page[PAGES[0]][0]["lighthouseVersion"]
    settings = {
        "lighthouse": version,
        "num_runs": num_runs,
        "form": "mobile, simulated",
    }
    return results.build_record(
        "lighthouse", figures=figures, settings=settings, num_ranks=1
    )


def main() -> int:
    """Measure, print, and keep.

    Returns:
        The exit code: 1 if a page has fewer than 95 points in anything.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=pathlib.Path, help="a built site")
    parser.add_argument("--json", type=pathlib.Path, help="where to keep the figures")
    parser.add_argument("--num-runs", type=int, default=3, help="runs [%(default)s]")
    arguments = parser.parse_args()
    missing = missing_tool()
    if missing:
        parser.error(missing)
    record = measure(arguments.site, num_runs=arguments.num_runs)
    for page, row in record["figures"].items():
        print(page, [row[name] for name in CATEGORIES], *row["below_90"], sep="\n  ")
    if arguments.json:
        results.write(arguments.json, record)
    rows = record["figures"].values()
    return int(min(row[name] for row in rows for name in CATEGORIES) < 95)


if __name__ == "__main__":
    sys.exit(main())
