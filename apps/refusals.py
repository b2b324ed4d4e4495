"""Send away at once, and cheaply, whoever finds no room.

Promise: a refusal is the same answer wherever it is given, and costs a few
microseconds. Each one is counted; the log gets one line a second for all of them.

WHY of its own, and not a line in the route: under overload nearly all requests are
refused, and what one of them costs is taken from those that were accepted. Routing,
exception handlers and a log line of its own cost many times as much.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import http
from collections.abc import Callable, Collection
from typing import NamedTuple

import problems
import prometheus_client
from telemetry import HEADERS, Metrics, choose_request_id, log

__all__ = ["CLOSE", "Headers", "Refusal", "Refusals", "of_problem"]

Headers = list[tuple[bytes, bytes]]
CLOSE: Headers = [(b"connection", b"close")]
LOG_EVERY_S = 1.0


class _Form(NamedTuple):
    """What all refusals of a kind have in common."""

    status: int
    headers: Headers
    opening: bytes  # status and those headers, as HTTP/1.1 spells them
    begun: bytes  # the body up to the request's id, which comes last


class Refusal(NamedTuple):
    """An answer, ready to be sent."""

    form: _Form
    own: Headers
    body: bytes

    @property
    def status(self) -> int:
        """Its number."""
        return self.form.status

    @property
    def headers(self) -> Headers:
        """All of its headers."""
        return [*self.form.headers, *self.own]

    def on_the_wire(self, more: Headers) -> bytes:
        """Spell it as HTTP/1.1 does.

        Args:
            more: Headers of this connection.

        Returns:
            All of it.
        """
        return b"%b%b\r\n%b" % (
            self.form.opening,
            _spelled(self.own) + _spelled(more),
            self.body,
        )


class Refusals:
    """Refuses, and counts it. Use it from one event loop.

    Args:
        metrics: What counts.
        check_capacity: Raises a ProblemError if the queue is full.
        guarded: Paths whose POST asks for room.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        check_capacity: Callable[[], None],
        guarded: Collection[str],
    ) -> None:
        self._metrics, self._check_capacity = metrics, check_capacity
        self._counters: dict[tuple[str, int], prometheus_client.Counter] = {}
        self._guarded = frozenset(guarded)
        self._unlogged: collections.Counter[tuple[str, str]] = collections.Counter()

    def guards(self, method: str, path: str) -> bool:
        """Say whether such a request needs room.

        Args:
            method: Of the request.
            path: Of the request.

        Returns:
            Whether it may be refused.
        """
        return method == "POST" and path in self._guarded

    def refuse(self, path: str, *, given_id: str) -> Refusal | None:
        """Refuse a request for which there is no room.

        Args:
            path: One of those that are guarded.
            given_id: What its sender calls it; may be empty.

        Returns:
            The answer; None if there is room.
        """
        try:
            self._check_capacity()
        except problems.ProblemError as error:
            refused = of_problem(error, given_id=given_id)
            self._count(path, refused.status, error.kind)
            return refused
        return None

    def _count(self, path: str, status: int, kind: str) -> None:
        if (path, status) not in self._counters:
            labels = (path, "POST", str(status))
            self._counters[path, status] = self._metrics.requests.labels(*labels)
        self._counters[path, status].inc()
        if not self._unlogged:
            asyncio.get_running_loop().call_later(LOG_EVERY_S, self.log_summary)
        self._unlogged[path, kind] += 1

    def log_summary(self) -> None:
        """Log how many were refused since it was logged last."""
        counts, self._unlogged = self._unlogged, collections.Counter()
        for (path, kind), number in counts.items():
            facts = {"route": path, "status": problems.KINDS[kind].status}
            facts |= {"problem": kind, "requests": number}
            log.info("refused", extra={"facts": facts})


def of_problem(error: problems.ProblemError, *, given_id: str = "") -> Refusal:
    """Put a problem into an answer that has passed through no app.

    Args:
        error: What is wrong; without `errors`.
        given_id: What the request's sender calls it; may be empty.

    Returns:
        The answer.
    """
    form = _form(error.kind, error.detail)
    known = choose_request_id(given_id).encode()
    body = b'%b"%b"}' % (form.begun, known)
    own = [(b"x-request-id", known), (b"content-length", b"%d" % len(body))]
    for name, value in (error.headers or {}).items():
        own.append((name.lower().encode(), value.encode()))
    return Refusal(form, own, body)


def _spelled(headers: Headers) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


@functools.lru_cache(maxsize=64)  # there are a handful
def _form(kind: str, detail: str | None) -> _Form:
    problem = problems.describe(problems.ProblemError(kind, detail))
    nameless = problem.model_copy(update={"request_id": ""})
    begun, _, _ = nameless.model_dump_json(exclude_none=True).rpartition('""}')
    fixed = {"Content-Type": problems.MEDIA_TYPE, **HEADERS}
    headers = [(name.lower().encode(), value.encode()) for name, value in fixed.items()]
    phrase = http.HTTPStatus(problem.status).phrase.encode()
    opening = b"HTTP/1.1 %d %b\r\n" % (problem.status, phrase) + _spelled(headers)
    return _Form(problem.status, headers, opening, begun.encode())
