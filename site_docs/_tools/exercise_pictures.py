"""Draw what `exercise check` saw of two solutions: the picture on the exercises' page.

`python site_docs/_tools/exercise_pictures.py --record` plays both on real ranks and
keeps what they did in `captured/exercise_traces.json`, with machine, date and the hash
of every script that took part. `make_pages.py` draws the picture from that file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from records import ROOT, SITE, sha256

from distrinews.system import machine
from distrinews.tracing import timeline

TRACES = pathlib.Path(__file__).with_name("captured") / "exercise_traces.json"
PICTURE = SITE / "diagrams" / "exercise-trace.svg"
EXERCISES = "chapters/exercises"
NAME = "write_the_reducer"
CHECK = f"{EXERCISES}/checks/{NAME}.py"
SOLUTIONS = {
    "Averages when backward is over: rejected": f"{EXERCISES}/wrong/{NAME}"
    "__after_backward.py",
    "Sends from hooks, during backward: passed": f"{EXERCISES}/solutions/{NAME}.py",
}
LEFT, WIDTH, LANE, PANEL = 110, 560, 100, 256
FIRST_LINE, BAR, SENT, GAP = 40, 22, 5, 3


def record() -> None:
    """Play both solutions, and keep their events."""
    traces: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "environment": machine.describe(),
        "scripts": {
            script: sha256(ROOT / script) for script in (CHECK, *SOLUTIONS.values())
        },
        "events": {},
    }
    for title, solution in SOLUTIONS.items():
        with tempfile.TemporaryDirectory() as folder:
            # WHY no check of the exit code: one of them is rejected, and shall be.
            subprocess.run(
                (sys.executable, "-m", "distrinews", "exercise", "run-check")
                + (str(ROOT / CHECK), str(ROOT / solution), folder),
                check=False,
                timeout=120,
            )
            events_by_rank = timeline.read(pathlib.Path(folder, "records", "01"))
        traces["events"][title] = {
            str(rank): [
                [event.kind, event.name, _ms(event.start_s), _ms(event.end_s or 0.0)]
                for event in events
            ]
            for rank, events in events_by_rank.items()
        }
    text = json.dumps(traces, indent=1) + "\n"
    TRACES.write_text(text, encoding="utf-8", newline="\n")


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)


def draw(traces: dict[str, Any]) -> str:
    """Make an SVG of what `record` kept."""
    height = PANEL * len(traces["events"])
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" '
        'role="img" aria-labelledby="exercise-trace-title exercise-trace-desc" '
        'style="min-width: 34rem">',
        '  <title id="exercise-trace-title">What two solutions of write_the_reducer '
        "did</title>",
        '  <desc id="exercise-trace-desc">Two ranks, drawn twice; time goes from left '
        "to right. Above: each rank's backward is a short bar, and its eight "
        "all-reduces begin one after the other when it is over. Below: all eight "
        "all-reduces begin while the bar of backward still runs.</desc>",
    ]
    for number, (title, ranks) in enumerate(traces["events"].items()):
        lines += _panel(title, ranks, top=PANEL * number)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(title: str, ranks: dict[str, list[Any]], *, top: int) -> list[str]:
    """One solution: a lane for each rank, and a line of time below."""
    end_ms = max(end for events in ranks.values() for *_, end in events)

    def x(ms: float) -> float:
        return round(LEFT + WIDTH * ms / end_ms, 1)

    lines = [f'  <text class="d-strong" x="10" y="{top + 22}">{title}</text>']
    for rank, events in ranks.items():
        y = top + FIRST_LINE + LANE * int(rank)
        lines += _text(f"rank {rank}", 10, y + 16) + _text("all-reduces", 10, y + 58)
        for kind, name, start, end in events:
            if kind != "phase":
                continue
            lines.append(_bar("d-box", x(start), y, width=x(end) - x(start), high=BAR))
            if name == "backward":
                text_y = y + 16
                if x(end) - x(start) < 70:
                    lines += _text(name, x(end) + 8, text_y)
                else:
                    middle = round((x(start) + x(end)) / 2, 1)
                    lines += _text(name, middle, text_y, anchor="middle")
                stop = x(end)
        all_reduces = [event for event in events if event[0] != "phase"]
        for i, (_, _, start, end) in enumerate(all_reduces):
            bar_y = y + BAR + 6 + (SENT + GAP) * i
            bar_width = max(1.5, x(end) - x(start))
            lines.append(
                _bar(f"d-r{rank}", x(start), bar_y, width=bar_width, high=SENT)
            )
        bottom = y + BAR + 6 + (SENT + GAP) * len(all_reduces)
        lines.append(f'  <path class="d-dash" d="M{stop} {y - 4}V{bottom}"/>')
    axis = top + FIRST_LINE + LANE * len(ranks) + 4
    lines += _text("0 ms", LEFT, axis) + _text(f"{end_ms:.0f} ms", LEFT + WIDTH, axis)
    return lines


def _text(content: str, x: float, y: int, *, anchor: str = "start") -> list[str]:
    anchor_attribute = f' text-anchor="{anchor}"' * (anchor != "start")
    return [
        f'  <text class="d-text" x="{x:g}" y="{y}"{anchor_attribute}>{content}</text>'
    ]


def _bar(kind: str, x: float, y: int, *, width: float, high: int) -> str:
    return (
        f'  <rect class="{kind}" x="{x:g}" y="{y}" width="{width:.1f}" '
        f'height="{high}"/>'
    )


def stale() -> list[str]:
    """Scripts that have changed since their traces were recorded."""
    traces = json.loads(TRACES.read_text(encoding="utf-8"))
    return [
        f"{script} has changed: run exercise_pictures.py --record"
        for script, recorded in traces["scripts"].items()
        if sha256(ROOT / script) != recorded
    ]


def files() -> dict[pathlib.Path, str]:
    """The picture."""
    return {PICTURE: draw(json.loads(TRACES.read_text(encoding="utf-8")))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", action="store_true", required=True)
    parser.parse_args()
    record()
