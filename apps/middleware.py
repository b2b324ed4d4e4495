"""What all requests have in common: id, headers, limits, log line, metrics.

Promise: one log line a request, or one a second for those that were refused for lack
of room. Its labels and those of the metrics come from short fixed lists, so that no
visitor can make them grow. Every answer carries a request id and the security headers,
an answer to a crash, too.
"""

from __future__ import annotations

import time
from typing import Any

import problems
from refusals import CLOSE, Refusal, Refusals
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from telemetry import (
    FRAMES,
    HEADERS,
    Metrics,
    choose_request_id,
    current_request_id,
    log,
    log_error,
)

__all__ = ["RequestMiddleware"]

METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}
UI = "/ui"  # Gradio brings scripts, styles and a cache policy of its own
UI_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": FRAMES,
}


class RequestMiddleware:
    """What all requests have in common: id, headers, limits, log line, metrics.

    Args:
        app: What answers.
        metrics: What counts.
        max_body_bytes: More is refused.
        refusals: Who sends away whom there is no room for.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        max_body_bytes: int,
        refusals: Refusals,
    ) -> None:
        self.app, self.metrics, self.refusals = app, metrics, refusals
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Args:
            scope: As ASGI says.
            receive: As ASGI says.
            send: As ASGI says.
        """
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_headers = Headers(scope=scope)
        given_id = request_headers.get("x-request-id", "")
        if self._is_guarded(scope) and not self._is_too_large(scope):
            refused = self.refusals.refuse(scope["path"], given_id=given_id)
            if refused is not None:
                # WHY an end where the client waits to be told to go on: it may send the
                # body or not, and nobody could tell it from the next request.
                await _send(refused, CLOSE * ("expect" in request_headers), send)
                return
        request_id = choose_request_id(given_id)
        token = problems.request_id.set(request_id)
        fields = scope["distrinews"] = {}
        status, began_s = 0, time.perf_counter()

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                for name, value in (UI_HEADERS if _is_ui(scope) else HEADERS).items():
                    headers.setdefault(name, value)
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self._answer(scope, receive, send_on)
        except Exception as error:
            log_error("crash", error)
            if not status:  # else the answer has begun: it can only be cut off
                crash = problems.answer(problems.ProblemError("internal"))
                await crash(scope, receive, send_on)
        finally:
            self.metrics.in_flight.dec()
            self._log_request(scope, status, time.perf_counter() - began_s, fields)
            problems.request_id.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit, num_received = self.max_body_bytes, 0
        # WHY close: the rest of the body is on its way, and nobody will read it.
        too_large = problems.ProblemError(
            "body-too-large",
            f"A body may have {limit:,} bytes.",
            headers={"Connection": "close"},
        )
        if self._is_too_large(scope):
            await problems.answer(too_large)(scope, receive, send)
            return

        async def receive_counted() -> Message:
            nonlocal num_received
            message = await receive()
            num_received += len(message.get("body", b""))
            # A body that came in chunks, its length unannounced.
            if num_received > limit:
                raise too_large
            return message

        await self.app(scope, receive_counted, send)

    def _is_guarded(self, scope: Scope) -> bool:
        return self.refusals.guards(scope["method"], scope["path"])

    def _is_too_large(self, scope: Scope) -> bool:
        length = Headers(scope=scope).get("content-length", "")
        return length.isdecimal() and (
            len(length) > 18 or int(length) > self.max_body_bytes
        )

    def _log_request(
        self, scope: Scope, status: int, seconds: float, fields: dict[str, Any]
    ) -> None:
        # WHY the template of the route and never the path: paths are endless, and a
        # visitor may put a text into one.
        fallback = scope["path"] if self._is_guarded(scope) else "unmatched"
        route_path = getattr(scope.get("route"), "path", fallback)
        route = UI if _is_ui(scope) else route_path
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.requests.labels(route, method, str(status)).inc()
        self.metrics.request_s.labels(route).observe(seconds)
        facts = {
            "request_id": current_request_id(),
            "method": method,
            "route": route,
            "status": status,  # 0: cut off before an answer began
            "ms": round(seconds * 1000, 1),
        }
        log.info("request", extra={"facts": facts | fields})


async def _send(refused: Refusal, more: list[tuple[bytes, bytes]], send: Send) -> None:
    start = {"status": refused.status, "headers": [*refused.headers, *more]}
    await send({"type": "http.response.start", **start})
    await send({"type": "http.response.body", "body": refused.body})


def _is_ui(scope: Scope) -> bool:
    path = scope["path"]
    return bool(path == UI or path.startswith(f"{UI}/"))
