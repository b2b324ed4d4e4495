"""HTTP/1.1 by uvicorn and h11, with limits that neither has a setting for.

Not here: limits on what a request holds (`middleware`, `reading`), signals (`server`).
"""

# ruff: noqa: D102 - the methods are asyncio's and uvicorn's.

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

import h11
import problems
from middleware import MAX_HEAD_BYTES
from serve_settings import ServeSettings
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Connection", "TimedH11Protocol"]

# A client may close its sending side (`nc -N`) and wait this long for its answer. WHY
# not longer: a client that is gone looks the same, and holds a place in the queue.
HALF_CLOSED_S = 1.0
# A body may come in one chunk for each 64 bytes of the largest body, whatever their
# sizes. WHY: h11 takes as long for a chunk of one byte as for one of 65,536.
CHUNK_BYTES = 64
# RFC 9112, 3.2.2: what a client sends to a proxy, and every server must accept.
ABSOLUTE = re.compile(rb"https?://([^/?#]+)", re.IGNORECASE)


class Connection(h11.Connection):
    """Refuse a body in many tiny chunks; read an absolute target as a path and a host.

    Args:
        max_chunks: More are no request.
    """

    def __init__(self, *, max_chunks: int) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self._max_chunks, self._num_chunks = max_chunks, 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._num_chunks = 0
            return _with_path_only(event)
        if isinstance(event, h11.Data) and event.chunk_start:
            self._num_chunks += 1
            if self._num_chunks > self._max_chunks:
                raise h11.RemoteProtocolError("too many chunks")
        return event


def _with_path_only(request: h11.Request) -> h11.Request:
    """Move the host of an absolute target into Host, where everything else looks."""
    match = ABSOLUTE.match(request.target)
    if match is None:
        return request
    rest = request.target[match.end() :]
    return h11.Request(
        method=request.method,
        target=rest if rest.startswith(b"/") else b"/" + rest,
        headers=[
            (name, match[1] if name == b"host" else value)
            for name, value in request.headers
        ],
        http_version=request.http_version,
    )


class TimedH11Protocol(H11Protocol):
    """Limit how long a client may take to send a request's head or to take an answer.

    WHY: uvicorn (0.54) waits forever for both. A few thousand connections that send a
    byte a minute, or read none, would take all of its sockets. This class can go when
    uvicorn has such limits.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._settings: ServeSettings = self.config.app.state.settings  # type: ignore[union-attr]
        max_chunks = self._settings.max_body_bytes // CHUNK_BYTES
        self.conn = Connection(max_chunks=max_chunks)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        # WHY 0: `pause_writing` then means that the client has not taken everything.
        transport.set_write_buffer_limits(high=0)
        if _has_too_many_connections(self, self._settings.max_connections // 2):
            transport.abort()
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for name in [*self._timers]:
            self._stop(name)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def eof_received(self) -> bool:  # type: ignore[override]
        if self.cycle is None or self.cycle.response_complete or self.cycle.more_body:
            return False  # asyncio closes
        self.cycle.keep_alive = bool(self.conn.trailing_data[0])
        self._start("half-closed", HALF_CLOSED_S)
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        self._start("write", self._settings.write_timeout_s)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop("write")

    def shutdown(self) -> None:
        if self.flow.write_paused:  # the client does not read
            self.transport.abort()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None:
            self.cycle.disconnected = True  # its own answer would come after this one
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            refusal = problems.bad_request(self._settings.root_path)
            headers = [*self.server_state.default_headers, *refusal.raw_headers]
            head = h11.Response(status_code=400, headers=headers, reason="Bad Request")
            for event in (head, h11.Data(data=bytes(refusal.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch_head(self) -> None:
        """Limit the time until a request's head is here; one more byte adds none."""
        answered = self.cycle is not None and self.cycle.response_complete
        state = self.conn.their_state
        # The second: a body that will be discarded.
        if state is h11.IDLE or (answered and state is h11.SEND_BODY):
            self._start("head", self._settings.headers_timeout_s)
        else:
            self._stop("head")

    def _start(self, name: str, limit_s: float) -> None:
        """End the connection after `limit_s`, unless this clock is running already."""
        if name not in self._timers:
            end = self.transport.abort if name == "write" else self.transport.close
            self._timers[name] = self.loop.call_later(limit_s, end)

    def _stop(self, name: str) -> None:
        if name in self._timers:
            self._timers.pop(name).cancel()


def _has_too_many_connections(newest: H11Protocol, limit: int) -> bool:
    """Whether the address of the newest connection has more than its share."""
    others: Iterable[Any] = newest.connections
    hosts = [other.client and other.client[0] for other in others]
    host = newest.client[0] if newest.client else ""
    # A trusted proxy's connections are those of all its clients.
    is_proxy = host in getattr(newest.app, "trusted_hosts", ())
    return hosts.count(host) > limit and not is_proxy
