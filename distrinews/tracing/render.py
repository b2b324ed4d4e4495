"""Draw a timeline: a lane per rank, computing above, what travels below.

Promise: one HTML file that needs nothing else, and a file for Perfetto
(https://ui.perfetto.dev). Both hold every event that was recorded.

Not here: reading the record (`distrinews.tracing.timeline`).

Guide: understand/timeline.
"""

from __future__ import annotations

import html
import pathlib
from typing import Any

from distrinews.system import files
from distrinews.tracing.timeline import Event

__all__ = ["waits_s", "write_html", "write_perfetto"]

LANE_PX, WIDTH_PX, LEFT_PX = 64, 1100, 70
COLOURS = {"forward": "#56B4E9", "backward": "#0072B2", "optimizer": "#009E73"}
OTHER, TRAVELS, NEVER_ENDED = "#BBBBBB", "#D55E00", "#CC0000"


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
        lanes = _lanes(own, until=until)
        names = {0: "computing"} | {lane: "travelling" for lane in lanes if lane}
        events.append(_named("process_name", rank, f"rank {rank}"))
        events += [
            _named("thread_name", rank, name, lane=lane) for lane, name in names.items()
        ]
        events += [
            {
                "name": event.name + (" (never ended)" * (event.end_s is None)),
                "cat": event.kind,
                "ph": "X",
                "pid": rank,
                "tid": lane,
                "ts": round(1e6 * event.start_s, 3),
                "dur": round(1e6 * (_end_s(event, until) - event.start_s), 3),
                "args": {"bytes": event.num_bytes, "site": event.site},
            }
            for event, lane in zip(own, lanes, strict=True)
        ]
    files.write_json(path, {"traceEvents": events, "displayTimeUnit": "ms"})


def _named(what: str, rank: int, name: str, *, lane: int = 0) -> dict[str, Any]:
    """How the trace event format gives a name to a process or one of its threads."""
    who = {"name": what, "ph": "M", "pid": rank, "tid": lane}
    return who | {"args": {"name": name}}


def _lanes(events: list[Event], *, until: float) -> list[int]:
    """A lane for each event: 0 computes, the others hold what travels at one time."""
    # WHY: DDP's buckets overlap each other, and the trace event format knows no two
    # bars of one thread that overlap without one holding the other.
    free_at_s: list[float] = []
    lanes = []
    for event in events:
        if event.kind == "phase":
            lanes.append(0)
            continue
        free = (i for i, at_s in enumerate(free_at_s) if at_s <= event.start_s)
        lane = next(free, len(free_at_s))
        free_at_s[lane : lane + 1] = [_end_s(event, until)]
        lanes.append(lane + 1)
    return lanes


def _end_s(event: Event, until: float) -> float:
    return until if event.end_s is None else event.end_s


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
        shapes += [
            _shape(event, top=top, until=until, lane=number)
            for event, number in zip(events, _lanes(events, until=until), strict=True)
        ]
        shapes += [_veil(*span, top=top, until=until) for span in waits_s(events)]
    ticks = "".join(
        f'<text x="{LEFT_PX + part * WIDTH_PX / 10:.0f}" y="{height - 8}" '
        f'class="tick">{1000 * until * part / 10:.0f} ms</text>'
        for part in range(11)
    )
    text = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; --ink: #222; --soft: #666; --line: #ddd; }}
@media (prefers-color-scheme: dark) {{
 :root {{ --ink: #eee; --soft: #aaa; --line: #555; }} body {{ background: #181818; }}
}}
body {{ font: 15px system-ui, sans-serif; margin: 1rem; color: var(--ink); }}
h1 {{ font-size: 1.3rem; overflow-wrap: anywhere; }} p {{ overflow-wrap: anywhere; }}
.scroll {{ overflow-x: auto; border: 1px solid var(--line); }}
svg {{ display: block; width: 100%; min-width: 900px; height: auto; }}
svg text {{ font: 12px system-ui, sans-serif; fill: var(--ink); }}
svg .tick {{ fill: var(--soft); text-anchor: middle; }}
rect:hover {{ stroke: var(--ink); }}
.key span {{ display: inline-block; margin-right: 1.2em; }}
.key i {{ display: inline-block; width: 1em; height: 1em; margin-right: .3em; }}
</style></head><body>
<h1>{html.escape(title)}</h1>
<p class="key">{_key()}</p>
<div class="scroll" tabindex="0" role="region" aria-label="timeline, scrolls sideways">
<svg viewBox="0 0 {LEFT_PX + WIDTH_PX + 30} {height}" role="img"
 aria-label="a lane per rank">{"".join(shapes)}{ticks}</svg></div>
<p>{html.escape(verdict)} {_waiting(told)}</p>
<p>In each lane above: computing. Below: what travels. Point at a bar to see what it is,
how many bytes, and where in the program.</p>
</body></html>
"""
    with files.atomic_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def waits_s(events: list[Event]) -> list[tuple[float, float]]:
    """Find where backward only waits: exposed communication.

    Args:
        events: Of one rank.

    Returns:
        From the start of the last bucket (its gradients are ready, so all are) to the
        end of backward, in seconds, for each backward in which something travelled.

    Examples:
        >>> spans = [("phase", "backward", 0, 9), ("collective", "bucket 0", 2, 5)]
        >>> spans += [("collective", "bucket 1", 6, 9)]
        >>> events = [Event(0, k, n, a, b, 0, "") for k, n, a, b in spans]
        >>> waits_s(events)
        [(6, 9)]
    """
    spans = []
    for phase in events:
        if phase.name != "backward" or phase.end_s is None:
            continue
        begun = [
            one.start_s
            for one in events
            if one.kind != "phase" and phase.start_s <= one.start_s <= phase.end_s
        ]
        if begun:
            spans.append((max(begun), phase.end_s))
    return spans


def _veil(start_s: float, end_s: float, *, top: int, until: float) -> str:
    """A pale cover over the part of backward that computes nothing."""
    left, right = (LEFT_PX + WIDTH_PX * at / until for at in (start_s, end_s))
    return (
        f'<path d="M{left:.2f} {top}H{right:.2f}v24H{left:.2f}z" fill="#fff" '
        'fill-opacity=".6" pointer-events="none"/>'
    )


def _waiting(told: dict[int, list[Event]]) -> str:
    """How long backward only waits, for each rank in a sentence."""
    return " ".join(
        f"Rank {rank} waits {1000 * sum(b - a for a, b in spans) / len(spans):.0f} ms "
        "a step for gradients after its own are ready (the pale end of backward)."
        for rank, spans in ((rank, waits_s(own)) for rank, own in told.items())
        if spans
    )


def _shape(event: Event, *, top: int, until: float, lane: int) -> str:
    """A bar, with what it is as its tooltip."""
    end_s = _end_s(event, until)
    left = LEFT_PX + WIDTH_PX * event.start_s / until
    width = max(0.6, WIDTH_PX * (end_s - event.start_s) / until)
    travels = event.kind != "phase"
    colour = TRAVELS if travels else COLOURS.get(event.name, OTHER)
    if event.end_s is None:
        colour = NEVER_ENDED
    took = f"{1000 * (end_s - event.start_s):.2f} ms"
    if event.end_s is None:
        took = "never ended"
    size = f", {event.num_bytes:,} bytes" if event.num_bytes else ""
    tip = html.escape(f"rank {event.rank}: {event.name}, {took}{size} {event.site}")
    # Below: what travels; more than three things at a time share the last line.
    y, height = (top + 17 + 10 * min(lane, 3), 9) if travels else (top, 24)
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
