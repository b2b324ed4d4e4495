"""Cut one recorded step, and the code that it ran, for the widget <life-of-step>.

The recording is `benchmarks/results/timeline.html`, which chapter 06 wrote; the code is
act 3 of chapter 05. Each stop names lines by their beginning, so a line that changes
in the chapter stops the build instead of leaving a wrong highlight.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import chapter_pages
from records import RESULTS

__all__ = ["step_data"]

CHAPTER = "chapters/05_ddp_training.py"
FIRST, LAST = "optimizer.zero_grad()", "scheduler.step()"
STEP = 1  # of the three recorded ones: the first still warms up
BAR = re.compile(
    r'<rect x="([\d.]+)" [^>]*><title>rank (\d+): (\w+(?: \d+)?), ([\d.]+) ms'
    r"(?:, ([\d,]+) bytes)?"
)
TICK = re.compile(r'<text x="([\d.]+)" [^>]*class="tick">(\d+) ms<')
# Stop -> how its lines begin.
LINES = {
    "rows": ("rows = next(micro_batches)", "inputs, labels ="),
    "forward": ("loss = F.cross_entropy",),
    "backward": ("(loss / settings",),
    "full": (
        "(loss / settings",
        "# The ranks synchronise",
        "# parameter, and backward()",
    ),
    "travel": (
        "(loss / settings",
        "# The ranks synchronise",
        "# parameter, and backward()",
    ),
    "wait": (
        "(loss / settings",
        "# The ranks synchronise",
        "# parameter, and backward()",
    ),
    "step": ("optimizer.step()",),
}


def step_data() -> dict[str, Any]:
    """Read the recording and the chapter.

    Returns:
        `ranks`: for each rank its events with start and end in ms since the step began;
        `code`: lines; `lines`: for each stop the numbers of its lines, from 0.

    Raises:
        SystemExit: The recording has no such step, or a line has left the chapter.
    """
    code = _code()
    return {
        "code": code,
        "lines": {
            stop: [_line(code, beginning) for beginning in beginnings]
            for stop, beginnings in LINES.items()
        },
        "ranks": _events((RESULTS / "timeline.html").read_text(encoding="utf-8")),
    }


def _code() -> list[str]:
    """Act 3, without what is there for accumulation and logging only."""
    lines = chapter_pages.code(CHAPTER)
    first = next(i for i, line in enumerate(lines) if line.strip() == FIRST)
    last = next(i for i, line in enumerate(lines) if line.strip() == LAST)
    kept = lines[first : last + 1]
    indent = min(len(line) - len(line.lstrip()) for line in kept if line.strip())
    return [line[indent:] for line in kept]


def _line(code: list[str], beginning: str) -> int:
    found = [i for i, line in enumerate(code) if line.strip().startswith(beginning)]
    if len(found) != 1:
        raise SystemExit(f"{CHAPTER}: {len(found)} lines begin with {beginning!r}.")
    return found[0]


def _events(html: str) -> list[list[dict[str, Any]]]:
    """The events of one step, by rank."""
    ticks = [(float(x), float(ms)) for x, ms in TICK.findall(html)]
    (left, first_ms), (right, last_ms) = ticks[0], ticks[-1]
    ms_per_unit = (last_ms - first_ms) / (right - left)
    by_rank: dict[int, list[dict[str, Any]]] = {}
    for x, rank, name, took, num_bytes in BAR.findall(html):
        start_ms = (float(x) - left) * ms_per_unit
        by_rank.setdefault(int(rank), []).append({
            "name": name,
            "start_ms": start_ms,
            "end_ms": start_ms + float(took),
            "bytes": int(num_bytes.replace(",", "") or 0),
        })
    steps = []
    for events in by_rank.values():
        # A step begins with its rows.
        starts = [i for i, event in enumerate(events) if event["name"] == "data"]
        bounds = list(itertools.pairwise([*starts, len(events)]))
        if len(bounds) <= STEP:
            raise SystemExit("timeline.html has too few steps.")
        steps.append(events[slice(*bounds[STEP])])
    begin_ms = min(event["start_ms"] for events in steps for event in events)
    return [
        [
            event
            | {key: round(event[key] - begin_ms, 1) for key in ("start_ms", "end_ms")}
            for event in events
        ]
        for events in steps
    ]
