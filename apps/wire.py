"""HTTP/1.1 by h11, with a limit on how long a request's head may take.

A client that sends half a request, endless headers or no HTTP at all gets an error or
is disconnected.

Not here: the same by httptools, which takes a fraction of the time and is used where it
is installed (`fast_wire`).
"""

# ruff: noqa: D102 - the methods are asyncio's, uvicorn's and the parser's.

from __future__ import annotations

import asyncio

import h11
import problems
from refusals import CLOSE, Headers, of_problem
from serve_settings import ServeSettings
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["TimeoutH11Protocol", "bad_request"]


def bad_request(headers: Headers) -> bytes:
    """Spell the answer to what is no HTTP.

    Args:
        headers: Of this server's answers.

    Returns:
        A whole response.
    """
    return of_problem(problems.ProblemError("bad-request")).on_the_wire(headers + CLOSE)


class TimeoutH11Protocol(H11Protocol):
    """h11, its patience limited.

    WHY: uvicorn (0.54) waits for ever for the end of the headers. A few thousand
    connections that send a byte a minute would take all of its sockets.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._update_timer()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._update_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def send_400_response(self, msg: str) -> None:
        self.transport.write(bad_request(self.server_state.default_headers))
        self.transport.close()

    def _update_timer(self) -> None:
        """Start the clock when a request begins; a byte more does not restart it."""
        if not self._is_waiting():
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            settings: ServeSettings = self.config.app.state.settings  # type: ignore[union-attr]
            timeout_s = settings.headers_timeout_s
            self._timer = self.loop.call_later(timeout_s, self._on_timeout)

    def _on_timeout(self) -> None:
        self._timer = None
        if self._is_waiting() and not self.transport.is_closing():
            self.transport.close()

    def _is_waiting(self) -> bool:
        """Whether all that is to come is headers, or a body that nobody will read."""
        answered = self.cycle is not None and self.cycle.response_complete
        state = self.conn.their_state
        return state is h11.IDLE or (answered and state is h11.SEND_BODY)
