"""HTTP/1.1 by httptools, as strict as h11, and refusals that never reach the app.

Promise: what h11 does not let pass is refused here, too: endless headers, a request
without a host, a trailer that poses as a header. Whom the app would refuse for lack of
room is refused before there is a task or a scope for the request.

Not here: the choice of a parser (`server`), what a refusal says (`refusals`).
"""

# ruff: noqa: D102 - the methods are asyncio's, uvicorn's and the parser's.

from __future__ import annotations

import asyncio
import types

import httptools
from refusals import CLOSE, Refusals
from serve_settings import ServeSettings
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from wire import TimeoutH11Protocol, bad_request

__all__ = ["StrictHttpToolsProtocol"]

MAX_HEAD_BYTES = 65_536  # as uvicorn limits h11
# Stands where uvicorn keeps the request that it answers.
ANSWERED = types.SimpleNamespace(
    response_complete=True, more_body=False, message_event=asyncio.Event()
)


class _BadHeadError(Exception):
    """The parser lets it pass, and we do not."""


class StrictHttpToolsProtocol(HttpToolsProtocol):
    """httptools, its patience and its tolerance limited."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        state = self.config.app.state  # type: ignore[union-attr]
        settings: ServeSettings = state.settings
        self._refusals: Refusals = state.refusals
        self._max_body_bytes = settings.max_body_bytes
        self._patience_s = settings.headers_timeout_s
        self._in_head = self._head_is_new = False
        self._is_bad = self._ends = False
        self._head_bytes = 0
        self._since_s = self.loop.time()
        self._timer = self.loop.call_later(self._patience_s, self._check_patience)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._is_bad:
            return
        self._head_is_new = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            self._hand_over(data[error.args[0] :])
        except httptools.HttpParserError:
            self._refuse_for_good()
        else:
            # WHY here, too: the parser hands a header over when it has all of it.
            if self._in_head and not self._head_is_new:
                self._head_bytes += len(data)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse_for_good()

    # --- What the parser tells --------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = self._head_is_new = True
        self._head_bytes, self._since_s = 0, self.loop.time()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else it is a trailer: the request is being answered
            self._count_head(len(name) + len(value))
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self.parser.should_upgrade():  # see _hand_over
            return
        version = self.parser.get_http_version()
        num_hosts = sum(name == b"host" for name, _ in self.headers)
        if version not in ("1.0", "1.1") or num_hosts != 1 and version == "1.1":
            raise _BadHeadError
        if self._ends:  # we have said "Connection: close"
            self.cycle = ANSWERED
        elif not self._refuse():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._since_s = self.loop.time()
        if self._ends:
            self.transport.close()
        elif not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._since_s = self.loop.time()
        if self._is_bad and self.cycle.response_complete:
            self._send_400()

    # --- Refusing ---------------------------------------------------------------

    def _refuse(self) -> bool:
        """Refuse this request, if there is no room for it; say whether."""
        path = self.url.decode("ascii")
        if not self._refusals.guards(self.parser.get_method().decode("ascii"), path):
            return False
        others_first = self.cycle is not None and not self.cycle.response_complete
        if others_first or self.flow.write_paused or self.transport.is_closing():
            return False
        head = dict(self.headers)
        length = head.get(b"content-length", b"0")
        too_large = len(length) > 18 or int(length) > self._max_body_bytes
        if too_large or b"transfer-encoding" in head:
            return False
        given_id = head.get(b"x-request-id", b"").decode("latin-1")
        refused = self._refusals.refuse(path, given_id=given_id)
        if refused is None:
            return False
        # WHY an end where the client waits to be told to go on: it may send the body
        # or not, and we could not tell it from the next request.
        # WHY an end with HTTP/1.0: its clients read until then.
        lasts = self.parser.should_keep_alive() and not self.expect_100_continue
        self._ends = not lasts or self.parser.get_http_version() == "1.0"
        more = self.server_state.default_headers + CLOSE * self._ends
        self.transport.write(refused.on_the_wire(more))
        self.server_state.total_requests += 1
        self.cycle = ANSWERED
        return True

    def _count_head(self, num_bytes: int) -> None:
        self._head_bytes += num_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _BadHeadError

    def _refuse_for_good(self) -> None:
        """Answer what is no HTTP, after those requests that came before it."""
        self._is_bad = True
        self.logger.warning("Invalid HTTP request received.")
        if self.cycle is None or self.cycle.response_complete:
            self._send_400()
        elif self.cycle.more_body:  # it is the body of the request being answered
            if self.pipeline:
                self.transport.close()
            else:
                self._send_400()

    def _send_400(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(bad_request(self.server_state.default_headers))
            self.transport.close()

    def _hand_over(self, rest: bytes) -> None:
        """Let h11 speak with a client that would rather speak another protocol.

        Why: curl and Java ask for HTTP/2 so, and go on in HTTP/1.1 where nobody takes
        them up on it. httptools believes that the other protocol begins after the
        headers, and the body would be lost.
        """
        if self.cycle is not None and not self.cycle.response_complete:
            self._refuse_for_good()
            return
        self._timer.cancel()
        self.connections.discard(self)
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers]
        other = TimeoutH11Protocol(
            self.config, self.server_state, self.app_state, self.loop
        )
        other.connection_made(self.transport)
        self.transport.set_protocol(other)
        other.data_received(b"\r\n".join([*lines, b"", rest]))

    # --- Patience ---------------------------------------------------------------

    def _check_patience(self) -> None:
        """Close what has waited too long for a request, or for the rest of one.

        WHY one timer a connection that looks now and then: to start and stop one for
        each request would cost more than to refuse it.
        """
        left_s = self._since_s + self._patience_s - self.loop.time()
        idle = self.cycle is None or self.cycle.response_complete
        if idle and left_s <= 0:
            self.transport.close()
            return
        again_s = left_s if left_s > 0 else self._patience_s
        self._timer = self.loop.call_later(again_s, self._check_patience)
