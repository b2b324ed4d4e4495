"""Read what `distrinews.tracing.recorder` recorded, and say who never came.

Promise: after a hang or a kill, one sentence that names the rank that never joined a
call, and where it was last.

Not here: recording (`distrinews.tracing.recorder`), drawing
(`distrinews.tracing.render`).

Guide: understand/timeline.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
from dataclasses import dataclass
from typing import Any, NoReturn

from distrinews.errors import ResultError

__all__ = ["Event", "diagnose", "read"]


@dataclass(frozen=True)
class Event:
    """Something that a rank did.

    Attributes:
        rank: Who.
        kind: "phase"; "collective", which every rank must call; or "message", which
            only some do.
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
        folder: What `recorder.recording` wrote to.

    Returns:
        Rank -> events in the order of their beginnings. A rank that never began to
        record is missing.

    Raises:
        ResultError: There is no record, or one is damaged beyond its last line (which
            a kill may cut off).
    """
    paths = sorted(folder.glob("rank-*.jsonl"))
    if not paths:
        _raise_unusable(folder, "no rank-*.jsonl in it")
    events_by_rank = dict(_read_rank(path) for path in paths)
    first_s = min(
        (
            event["at"]
            for events in events_by_rank.values()
            for event in events.values()
        ),
        default=0.0,
    )
    return {
        rank: [
            Event(
                rank,
                record["kind"],
                record["name"],
                record["at"] - first_s,
                record["ended"] - first_s if "ended" in record else None,
                record.get("bytes", 0),
                record.get("site", ""),
            )
            for record in events.values()
        ]
        for rank, events in sorted(events_by_rank.items())
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
            record = json.loads(line)
            if "end" in record:
                events[record["end"]]["ended"] = float(record["at"])
            else:
                events[int(record["n"])] = record | {"at": float(record["at"])}
    except (ValueError, LookupError, TypeError) as error:
        _raise_unusable(path, f"not what was recorded ({error!r})")
    return rank, events


def diagnose(events_by_rank: dict[int, list[Event]], *, world_size: int) -> str:
    """Say which rank never joined which call, and where it was last.

    Args:
        events_by_rank: What `read` returned.
        world_size: How many ranks there should be.

    Returns:
        A sentence; "every call ended on every rank" if nothing is wrong.
    """
    silent = [rank for rank in range(world_size) if rank not in events_by_rank]
    if silent:
        return f"ranks {silent} never began to record."
    calls = {
        rank: [event for event in events if event.kind == "collective"]
        for rank, events in events_by_rank.items()
    }
    fewest = min(len(rank_calls) for rank_calls in calls.values())
    for number in range(fewest):
        names = {rank: rank_calls[number].name for rank, rank_calls in calls.items()}
        if len(set(names.values())) > 1:
            return f"call {number} differs: " + "; ".join(
                f"rank {rank} called {names[rank]} {calls[rank][number].site}"
                for rank in names
            )
    missing = [
        rank
        for rank, rank_calls in calls.items()
        if len(rank_calls) == fewest
        and any(len(longer) > fewest for longer in calls.values())
    ]
    if missing:
        waiting = next(
            rank for rank, rank_calls in calls.items() if len(rank_calls) > fewest
        )
        call = calls[waiting][fewest]
        last = "; ".join(
            _last_event_text(rank, events_by_rank[rank]) for rank in missing
        )
        return (
            f"rank {waiting} waits in call {fewest}, {call.name} {call.site}, "
            f"which ranks {missing} never joined. {last}"
        )
    return _unfinished(events_by_rank)


def _unfinished(events_by_rank: dict[int, list[Event]]) -> str:
    """All ranks made the same calls: say which did not come back from one."""
    unfinished = {
        rank: next(
            (
                event
                for event in events
                if event.kind != "phase" and event.end_s is None
            ),
            None,
        )
        for rank, events in events_by_rank.items()
    }
    where_stuck = [
        f"rank {rank} in {event.name} {event.site}"
        for rank, event in unfinished.items()
        if event
    ]
    if where_stuck:
        return f"a call never ended: {'; '.join(where_stuck)}."
    return "every call ended on every rank."


def _last_event_text(rank: int, events: list[Event]) -> str:
    if not events:
        return f"Rank {rank} did nothing before."
    event = max(events, key=lambda other: other.start_s)
    state = "ended" if event.end_s is not None else "is still in"
    return f"Rank {rank} {state} {event.name} {event.site}".strip() + "."


def _raise_unusable(path: pathlib.Path, reason: str) -> NoReturn:
    raise ResultError(
        f"{path} holds no usable timeline: {reason}.",
        why="a picture of half a record would show a hang that never was.",
        fix="record again with trace.recording(folder, ranks).",
        page="benchmark-files",
    )
