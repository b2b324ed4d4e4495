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

__all__ = ["exposed_communication_s", "write_html", "write_perfetto"]

LANE_PX, WIDTH_PX, LEFT_PX = 64, 1100, 70
COLOURS = {"forward": "#56B4E9", "backward": "#0072B2", "optimizer": "#009E73"}
OTHER_COLOUR, COMMUNICATION_COLOUR, NEVER_ENDED_COLOUR = "#BBBBBB", "#CC79A7", "#CC0000"


def write_perfetto(events_by_rank: dict[int, list[Event]], path: pathlib.Path) -> None:
    """Write the file that https://ui.perfetto.dev and chrome://tracing open.

    Args:
        events_by_rank: What `read` returned.
        path: The file.

    Raises:
        OSError: It could not be written, as the OutputError that names the cure.
    """
    until_s = _last_s(events_by_rank)
    events: list[dict[str, Any]] = []
    for rank, rank_events in events_by_rank.items():
        lanes = _lanes(rank_events, until_s=until_s)
        names = {0: "computing"} | {lane: "travelling" for lane in lanes if lane}
        events.append(_metadata_event("process_name", rank, f"rank {rank}"))
        events += [
            _metadata_event("thread_name", rank, name, lane=lane)
            for lane, name in names.items()
        ]
        events += [
            {
                "name": event.name + (" (never ended)" * (event.end_s is None)),
                "cat": event.kind,
                "ph": "X",
                "pid": rank,
                "tid": lane,
                "ts": round(1e6 * event.start_s, 3),
                "dur": round(1e6 * (_end_s(event, until_s) - event.start_s), 3),
                "args": {"bytes": event.num_bytes, "site": event.site},
            }
            for event, lane in zip(rank_events, lanes, strict=True)
        ]
    files.write_json(path, {"traceEvents": events, "displayTimeUnit": "ms"})


def _metadata_event(
    kind: str, rank: int, name: str, *, lane: int = 0
) -> dict[str, Any]:
    """How the trace event format gives a name to a process or one of its threads."""
    event = {"name": kind, "ph": "M", "pid": rank, "tid": lane}
    return event | {"args": {"name": name}}


def _lanes(events: list[Event], *, until_s: float) -> list[int]:
    """A lane for each event: 0 computes, the others hold what travels at one time."""
    # WHY: DDP's buckets overlap each other, and the trace event format knows no two
    # bars of one thread that overlap without one holding the other.
    free_at_s: list[float] = []
    lanes = []
    for event in events:
        if event.kind == "phase":
            lanes.append(0)
            continue
        free_lanes = (
            lane for lane, at_s in enumerate(free_at_s) if at_s <= event.start_s
        )
        lane = next(free_lanes, len(free_at_s))
        free_at_s[lane : lane + 1] = [_end_s(event, until_s)]
        lanes.append(lane + 1)
    return lanes


def _end_s(event: Event, until_s: float) -> float:
    return until_s if event.end_s is None else event.end_s


def write_html(
    events_by_rank: dict[int, list[Event]],
    path: pathlib.Path,
    *,
    title: str,
    verdict: str,
) -> None:
    """Draw the lanes into one HTML file that needs nothing else.

    Args:
        events_by_rank: What `read` returned.
        path: The file.
        title: Above the picture.
        verdict: Below it: what `diagnose` says.

    Raises:
        OSError: It could not be written, as the OutputError that names the cure.
    """
    until_s = max(_last_s(events_by_rank), 1e-9)
    height = LANE_PX * len(events_by_rank) + 40
    shapes = []
    for row, (rank, events) in enumerate(events_by_rank.items()):
        top = row * LANE_PX + 10
        shapes.append(f'<text x="4" y="{top + 30}">rank {rank}</text>')
        shapes += [
            _bar(event, top=top, until_s=until_s, lane=lane)
            for event, lane in zip(events, _lanes(events, until_s=until_s), strict=True)
        ]
        shapes += [
            _wait_overlay(*span, top=top, until_s=until_s)
            for span in exposed_communication_s(events)
        ]
    ticks = "".join(
        f'<text x="{LEFT_PX + tenth * WIDTH_PX / 10:.0f}" y="{height - 8}" '
        f'class="tick">{1000 * until_s * tenth / 10:.0f} ms</text>'
        for tenth in range(11)
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
<p class="key">{_legend()}</p>
<div class="scroll" tabindex="0" role="region" aria-label="timeline, scrolls sideways">
<svg viewBox="0 0 {LEFT_PX + WIDTH_PX + 30} {height}" role="img"
 aria-label="a lane per rank">{"".join(shapes)}{ticks}</svg></div>
<p>{html.escape(verdict)} {_waiting_text(events_by_rank)}</p>
<p>In each lane above: computing. Below: what travels. Point at a bar to see what it is,
how many bytes, and where in the program.</p>
</body></html>
"""
    with files.atomic_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


def exposed_communication_s(events: list[Event]) -> list[tuple[float, float]]:
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
        >>> exposed_communication_s(events)
        [(6, 9)]
    """
    spans = []
    for phase in events:
        if phase.name != "backward" or phase.end_s is None:
            continue
        starts_s = [
            event.start_s
            for event in events
            if event.kind != "phase" and phase.start_s <= event.start_s <= phase.end_s
        ]
        if starts_s:
            spans.append((max(starts_s), phase.end_s))
    return spans


def _wait_overlay(start_s: float, end_s: float, *, top: int, until_s: float) -> str:
    """A pale overlay over the part of backward that computes nothing."""
    left_px, right_px = (LEFT_PX + WIDTH_PX * at / until_s for at in (start_s, end_s))
    return (
        f'<path d="M{left_px:.2f} {top}H{right_px:.2f}v24H{left_px:.2f}z" fill="#fff" '
        'fill-opacity=".6" pointer-events="none"/>'
    )


def _waiting_text(events_by_rank: dict[int, list[Event]]) -> str:
    """How long backward only waits, for each rank in a sentence."""
    return " ".join(
        f"Rank {rank} waits {1000 * sum(b - a for a, b in spans) / len(spans):.0f} ms "
        "a step for gradients after its own are ready (the pale end of backward)."
        for rank, spans in (
            (rank, exposed_communication_s(events))
            for rank, events in events_by_rank.items()
        )
        if spans
    )


def _bar(event: Event, *, top: int, until_s: float, lane: int) -> str:
    """A bar, with what it is as its tooltip."""
    end_s = _end_s(event, until_s)
    left_px = LEFT_PX + WIDTH_PX * event.start_s / until_s
    width_px = max(0.6, WIDTH_PX * (end_s - event.start_s) / until_s)
    communicates = event.kind != "phase"
    colour = (
        COMMUNICATION_COLOUR if communicates else COLOURS.get(event.name, OTHER_COLOUR)
    )
    if event.end_s is None:
        colour = NEVER_ENDED_COLOUR
    duration = f"{1000 * (end_s - event.start_s):.2f} ms"
    if event.end_s is None:
        duration = "never ended"
    size = f", {event.num_bytes:,} bytes" if event.num_bytes else ""
    tooltip = html.escape(
        f"rank {event.rank}: {event.name}, {duration}{size} {event.site}"
    )
    # Below: what travels; more than three things at a time share the last line.
    top_px, height_px = (top + 17 + 10 * min(lane, 3), 9) if communicates else (top, 24)
    return (
        f'<rect x="{left_px:.2f}" y="{top_px}" width="{width_px:.2f}" '
        f'height="{height_px}" fill="{colour}"><title>{tooltip}</title></rect>'
    )


def _legend() -> str:
    legend = COLOURS | {
        "other": OTHER_COLOUR,
        "travels": COMMUNICATION_COLOUR,
        "never ended": NEVER_ENDED_COLOUR,
    }
    return "".join(
        f'<span><i style="background:{colour}"></i>{name}</span>'
        for name, colour in legend.items()
    )


def _last_s(events_by_rank: dict[int, list[Event]]) -> float:
    return max(
        (
            event.end_s or event.start_s
            for events in events_by_rank.values()
            for event in events
        ),
        default=0.0,
    )
