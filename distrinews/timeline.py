"""Draw what `distrinews.trace` recorded: a lane per rank, and who never came.

Promise: one HTML file that needs nothing else, a file for Perfetto
(https://ui.perfetto.dev), and, after a hang or a kill, one sentence that names the
rank that never joined a call, and where it was last.

Not here: recording (`distrinews.trace`).

Guide: understand/timeline.
"""

from __future__ import annotations

import contextlib
import html
import json
import pathlib
from dataclasses import dataclass
from typing import Any, NoReturn

from distrinews import files
from distrinews.errors import ResultError

__all__ = ["Event", "diagnose", "read", "write_html", "write_perfetto"]

LANE_PX, WIDTH_PX, LEFT_PX = 64, 1100, 70
COLOURS = {"forward": "#56B4E9", "backward": "#0072B2", "optimizer": "#009E73"}
OTHER, TRAVELS, NEVER_ENDED = "#BBBBBB", "#D55E00", "#CC0000"


@dataclass(frozen=True)
class Event:
    """Something that a rank did.

    Attributes:
        rank: Who.
        kind: "phase" or "collective".
        name: Which.
        start_s: When, since the first event of any rank.
        end_s: Until when; None if it never ended.
        num_bytes: That travelled.
        site: Where in the program.
    """

    rank: int
    kind: str
    name: str
    start_s: float
    end_s: float | None
    num_bytes: int
    site: str


def read(folder: pathlib.Path) -> dict[int, list[Event]]:
    """Read the records of all ranks.

    Args:
        folder: What `trace.recording` wrote to.

    Returns:
        Rank -> events in the order of their beginnings. A rank that never began to
        record is missing.

    Raises:
        ResultError: There is no record, or one is damaged beyond its last line (which
            a kill may cut off).
    """
    paths = sorted(folder.glob("rank-*.jsonl"))
    if not paths:
        _refuse(folder, "no rank-*.jsonl in it")
    began = dict(_read_rank(path) for path in paths)
    first = min(
        (event["at"] for events in began.values() for event in events.values()),
        default=0.0,
    )
    return {
        rank: [
            Event(
                rank,
                told["kind"],
                told["name"],
                told["at"] - first,
                told["ended"] - first if "ended" in told else None,
                told.get("bytes", 0),
                told.get("site", ""),
            )
            for told in events.values()
        ]
        for rank, events in sorted(began.items())
    }


def _read_rank(path: pathlib.Path) -> tuple[int, dict[int, dict[str, Any]]]:
    """One rank's events by number; each knows when it began, maybe when it ended."""
    lines = path.read_text(encoding="utf-8").splitlines()
    with contextlib.suppress(ValueError):
        json.loads(lines[-1] if lines else "{}")
        lines.append("{}")  # complete: nothing to forgive
    events: dict[int, dict[str, Any]] = {}
    try:
        rank = int(json.loads(lines[0])["rank"])
        for line in lines[1:-1]:  # a kill may have cut off the last one
            told = json.loads(line)
            if "end" in told:
                events[told["end"]]["ended"] = float(told["at"])
            else:
                events[int(told["n"])] = told | {"at": float(told["at"])}
    except (ValueError, LookupError, TypeError) as error:
        _refuse(path, f"not what was recorded ({error!r})")
    return rank, events


def diagnose(told: dict[int, list[Event]], *, world_size: int) -> str:
    """Say which rank never joined which call, and where it was last.

    Args:
        told: What `read` returned.
        world_size: How many ranks there should be.

    Returns:
        A sentence; "every call ended on every rank" if nothing is wrong.
    """
    silent = [rank for rank in range(world_size) if rank not in told]
    if silent:
        return f"ranks {silent} never began to record."
    calls = {
        rank: [event for event in events if event.kind == "collective"]
        for rank, events in told.items()
    }
    fewest = min(len(own) for own in calls.values())
    for number in range(fewest):
        names = {rank: own[number].name for rank, own in calls.items()}
        if len(set(names.values())) > 1:
            return f"call {number} differs: " + "; ".join(
                f"rank {rank} called {names[rank]} {calls[rank][number].site}"
                for rank in names
            )
    waiting = [r for r, own in calls.items() if own and own[-1].end_s is None]
    missing = [
        rank
        for rank, own in calls.items()
        if len(own) == fewest and any(len(other) > fewest for other in calls.values())
    ]
    if missing:
        whom = next(rank for rank, own in calls.items() if len(own) > fewest)
        call = calls[whom][fewest]
        last = "; ".join(_last(rank, told[rank]) for rank in missing)
        return (
            f"rank {whom} waits in call {fewest}, {call.name} {call.site}, which ranks "
            f"{missing} never joined. {last}"
        )
    if waiting:
        return f"all ranks are in call {fewest - 1}; ranks {waiting} never left it."
    return "every call ended on every rank."


def _last(rank: int, events: list[Event]) -> str:
    if not events:
        return f"Rank {rank} did nothing before."
    event = max(events, key=lambda one: one.start_s)
    state = "ended" if event.end_s is not None else "is still in"
    return f"Rank {rank} {state} {event.name} {event.site}".strip() + "."


def write_perfetto(told: dict[int, list[Event]], path: pathlib.Path) -> None:
    """Write the file that https://ui.perfetto.dev and chrome://tracing open.

    Args:
        told: What `read` returned.
        path: The file.

    Raises:
        OSError: It could not be written, as the OutputError that names the cure.
    """
    until = _until(told)
    events: list[dict[str, Any]] = []
    for rank, own in told.items():
        name = {"name": f"rank {rank}"}
        events.append({"name": "process_name", "ph": "M", "pid": rank, "args": name})
        events += [
            {
                "name": event.name + (" (never ended)" * (event.end_s is None)),
                "cat": event.kind,
                "ph": "X",
                "pid": rank,
                "tid": 0 if event.kind == "phase" else 1,
                "ts": round(1e6 * event.start_s, 3),
                "dur": round(1e6 * ((event.end_s or until) - event.start_s), 3),
                "args": {"bytes": event.num_bytes, "site": event.site},
            }
            for event in own
        ]
    files.write_json(path, {"traceEvents": events, "displayTimeUnit": "ms"})


def write_html(
    told: dict[int, list[Event]], path: pathlib.Path, *, title: str, verdict: str
) -> None:
    """Draw the lanes into one HTML file that needs nothing else.

    Args:
        told: What `read` returned.
        path: The file.
        title: Above the picture.
        verdict: Below it: what `diagnose` says.

    Raises:
        OSError: It could not be written, as the OutputError that names the cure.
    """
    until = max(_until(told), 1e-9)
    height = LANE_PX * len(told) + 40
    shapes = []
    for lane, (rank, events) in enumerate(told.items()):
        top = lane * LANE_PX + 10
        shapes.append(f'<text x="4" y="{top + 30}">rank {rank}</text>')
        shapes += [_shape(event, top=top, until=until) for event in events]
    ticks = "".join(
        f'<text x="{LEFT_PX + part * WIDTH_PX / 10:.0f}" y="{height - 8}" '
        f'class="tick">{1000 * until * part / 10:.0f} ms</text>'
        for part in range(11)
    )
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>
body {{ font: 15px system-ui, sans-serif; margin: 1.5rem; color: #222; }}
svg {{ border: 1px solid #ddd; width: 100%; height: auto; }}
svg text {{ font: 12px system-ui, sans-serif; }}
.tick {{ fill: #666; text-anchor: middle; }}
rect:hover {{ stroke: #000; }}
.key span {{ display: inline-block; margin-right: 1.2em; }}
.key i {{ display: inline-block; width: 1em; height: 1em; margin-right: .3em; }}
</style></head><body>
<h1>{html.escape(title)}</h1>
<p class="key">{_key()}</p>
<svg viewBox="0 0 {LEFT_PX + WIDTH_PX + 30} {height}" role="img"
 aria-label="a lane per rank">{"".join(shapes)}{ticks}</svg>
<p>{html.escape(verdict)}</p>
<p>In each lane above: computing. Below: what travels. Point at a bar to see what it is,
how many bytes, and where in the program.</p>
</body></html>
"""
    with files.atomic_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def _shape(event: Event, *, top: int, until: float) -> str:
    """A bar, with what it is as its tooltip."""
    end_s = until if event.end_s is None else event.end_s
    left = LEFT_PX + WIDTH_PX * event.start_s / until
    width = max(0.6, WIDTH_PX * (end_s - event.start_s) / until)
    travels = event.kind == "collective"
    colour = TRAVELS if travels else COLOURS.get(event.name, OTHER)
    if event.end_s is None:
        colour = NEVER_ENDED
    took = f"{1000 * (end_s - event.start_s):.2f} ms"
    if event.end_s is None:
        took = "never ended"
    size = f", {event.num_bytes:,} bytes" if event.num_bytes else ""
    tip = html.escape(f"rank {event.rank}: {event.name}, {took}{size} {event.site}")
    y, height = (top + 26, 18) if travels else (top, 24)
    return (
        f'<rect x="{left:.2f}" y="{y}" width="{width:.2f}" height="{height}" '
        f'fill="{colour}"><title>{tip}</title></rect>'
    )


def _key() -> str:
    colours = COLOURS | {"other": OTHER, "travels": TRAVELS, "never ended": NEVER_ENDED}
    return "".join(
        f'<span><i style="background:{colour}"></i>{name}</span>'
        for name, colour in colours.items()
    )


def _until(told: dict[int, list[Event]]) -> float:
    return max(
        (event.end_s or event.start_s for events in told.values() for event in events),
        default=0.0,
    )


def _refuse(path: pathlib.Path, reason: str) -> NoReturn:
    raise ResultError(
        f"{path} holds no usable timeline: {reason}.",
        why="a picture of half a record would show a hang that never was.",
        fix="record again with trace.recording(folder, ranks).",
        page="benchmark-files",
    )
