"""One rank skips a bad row alone; from then on the ranks are out of step.

Symptom   Hangs after "rank 1: could not convert ...". After the timeout: "rank 1 is at
          ... never reached the call that the others were waiting in: rank 0".
Cause     Rank 1 has a problem before a collective and handles it alone, so it skips
          that call. Its next call is matched with the wrong call of rank 0, and rank 0
          waits in vain for the last one.
Fix       Vote first: every rank reports whether it has a problem, then all act alike.
          `dist.raise_together` does this for errors.
Detector  A short timeout, and `distrinews.dist.failures`, which names the ranks that
          waited, and where.
Look at   Did rank 0 wait for the second sum or for the third?
Question  Rank 0 got a sum for line 2. Which two numbers were added?
Source    https://github.com/LibreYOLO/libreyolo/pull/594
Concept   understand/failures
Silent    no
Takes     8 s
"""

from __future__ import annotations

from distrinews import dist
from distrinews.course import labs

# Each rank reads its own column.
LINES = ("1 10", "2 x", "3 30")


def broken(ranks: dist.Ranks) -> float:
    total = 0.0
    for line in LINES:
        try:
            value = float(line.split()[ranks.rank])
        except ValueError as error:
            print(f"rank {ranks.rank}: {error}, line skipped")
            continue
        total += dist.sum_over_ranks(value)
    return total


def fixed(ranks: dist.Ranks) -> float:
    total = 0.0
    for line in LINES:
        value, is_bad = 0.0, False
        try:
            value = float(line.split()[ranks.rank])
        except ValueError as error:
            print(f"rank {ranks.rank}: {error}, line skipped by all ranks")
            is_bad = True
        if dist.sum_over_ranks(int(is_bad)) > 0:
            continue
        total += dist.sum_over_ranks(value)
    return total


def detect(ranks: dist.Ranks, got: float) -> None:
    labs.expect("1 + 10 + 3 + 30", got, want=44.0)


LAB = labs.Lab(
    broken=broken,
    fixed=fixed,
    detect=detect,
    symptom=r"rank 1 is at .*never reached .*others were waiting in: rank 0",
)

if __name__ == "__main__":
    LAB.main()
