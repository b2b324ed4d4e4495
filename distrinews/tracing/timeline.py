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
    return _unfinished(told)


def _unfinished(told: dict[int, list[Event]]) -> str:
    """All ranks made the same calls: say which did not come back from one."""
    waiting = {
        rank: next((e for e in events if e.kind != "phase" and e.end_s is None), None)
        for rank, events in told.items()
    }
    named = [f"rank {r} in {e.name} {e.site}" for r, e in waiting.items() if e]
    if named:
        return f"a call never ended: {'; '.join(named)}."
    return "every call ended on every rank."


def _last(rank: int, events: list[Event]) -> str:
    if not events:
        return f"Rank {rank} did nothing before."
    event = max(events, key=lambda one: one.start_s)
    state = "ended" if event.end_s is not None else "is still in"
    return f"Rank {rank} {state} {event.name} {event.site}".strip() + "."


def _refuse(path: pathlib.Path, reason: str) -> NoReturn:
    raise ResultError(
        f"{path} holds no usable timeline: {reason}.",
        why="a picture of half a record would show a hang that never was.",
        fix="record again with trace.recording(folder, ranks).",
        page="benchmark-files",
    )
