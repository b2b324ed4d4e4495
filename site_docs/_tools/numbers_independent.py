"""What somebody else measured of our programs, as the pages say it."""

from __future__ import annotations

import records
from number_tables import text

from distrinews.bench.timing import draw_table


@text
def independent_main_job() -> str:
    """Chapter 05 beside the Trainer, each as a user starts it."""
    job = records.record("independent")["main_job"]
    titles = {
        "chapter_05": "chapter 05",
        "trainer": "Trainer, as it comes",
        "trainer_grouped": "Trainer, grouped by length",
    }
    lines = [["what was started", "samples/s", "chapter 05 by it"]]
    for name, rate in job["samples_per_s"].items():
        ratio = job["ratio"].get(name)
        lines.append([titles[name], f"{rate:g}", f"{ratio:.2f}x" if ratio else "1"])
    return (
        f"{draw_table(lines)}\n\nMeasured independently, as started: "
        f"{job['num_rounds']} rounds, {job['train_rows']:,} AG News rows, "
        f"{job['num_cores']} cores, {job['num_ranks']} ranks, {job['preset']}, "
        f"{job['rows_per_rank']} rows a rank. This is {job['num_rounds']} rounds and "
        "no interval yet (independent.json)."
    )


@text
def independent_serving() -> str:
    """Our server beside a plain route, measured by somebody else."""
    load = records.record("independent")["serving"]
    return (
        f"Measured independently with {load['client']} as well "
        f"({load['num_connections']} connections, {load['texts']} texts, a "
        f"{load['machine']} machine, {load['num_rounds']} runs): "
        f"{load['ratio_to_naive']}x a plain route (independent.json). That run's date, "
        "processor and versions are not recorded."
    )
