"""What all requests have in common: headers, limits, log line, metrics.

Each request writes one log line. Its labels and those of the metrics come from short
fixed lists, so that no visitor can make them grow. Every answer carries the security
headers, even the answer to a crash.

Two classes, so that the headers of CORS can be added between them: a script of another
site may read a refusal, too.

Not here: request ids (asgi-correlation-id), who may ask (`access`).
"""

from __future__ import annotations

import re
import time

from asgi_correlation_id import correlation_id
from problems import HEADERS, ProblemError, answer
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from telemetry import Metrics, log, log_error

__all__ = ["MAX_HEAD_BYTES", "LimitMiddleware", "RequestMiddleware"]

METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}
CLOSE = {"Connection": "close"}
MAX_HEAD_BYTES = 16_384  # h11's own limit for what comes piece by piece
# WHY: a page repeats it as part of a command.
HOST = re.compile(r"[\w.:\[\]-]*", re.ASCII)
HTTP = re.compile(r"1\.\d|2|3")  # as ASGI spells it; h11 reads "HTTP/7.0", too


class RequestMiddleware:
    """Security headers, log line, metrics, and an answer to a crash.

    Args:
        app: What answers.
        metrics: What counts.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        method = scope["method"]
        # WHY: a GET whose body is dropped answers a HEAD; no route need know of it.
        scope = {**scope, "method": "GET" if method == "HEAD" else method}
        fields = scope["distrinews"] = {}
        status, began_s = 0, time.perf_counter()

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                response_headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    response_headers.setdefault(name, value)
            elif method == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, send_on)
        except Exception as error:
            log_error("crash", error)
            if not status:  # else the answer has begun: it can only be cut off
                crash = answer(ProblemError("internal"), scope.get("root_path", ""))
                await crash(scope, receive, send_on)
        finally:
            self.metrics.in_flight.dec()
            # WHY the template of the route and never the path: paths are endless, and a
            # visitor may put a text into one.
            route = getattr(scope.get("route"), "path", "unmatched")
            method = method if method in METHODS else "other"
            seconds = time.perf_counter() - began_s
            self.metrics.requests.labels(route, method, str(status)).inc()
            self.metrics.request_s.labels(route).observe(seconds)
            facts = {
                "request_id": correlation_id.get(),
                "method": method,
                "route": route,
                "status": status,  # 0: cut off before an answer began
                "ms": round(seconds * 1000, 1),
            }
            log.info("request", extra={"facts": facts | fields})


class LimitMiddleware:
    """Refuse a request for what its head says, or for the size of its body.

    Args:
        app: What answers.
        max_body_bytes: More is refused.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self.app, self.max_body_bytes = app, max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        num_received, awaits_continue = 0, "expect" in headers

        async def receive_counted() -> Message:
            nonlocal num_received, awaits_continue
            message = await receive()
            num_received += len(message.get("body", b""))
            # A body that came in chunks, its length unannounced.
            if num_received > self.max_body_bytes:
                raise self._too_large()
            awaits_continue &= message.get("more_body", False)
            return message

        async def send_on(message: Message) -> None:
            # WHY: a client that was not told to continue may send the body or not, and
            # the server could not tell it from the next request.
            if awaits_continue and message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(CLOSE)
            await send(message)

        refusal = self._refuse(scope, headers)
        if refusal is None:
            await self.app(scope, receive_counted, send_on)
        else:
            response = answer(refusal, scope.get("root_path", ""))
            await response(scope, receive, send_on)

    def _refuse(self, scope: Scope, headers: Headers) -> ProblemError | None:
        """Refuse a request for what its head says."""
        num_bytes = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        num_bytes += sum(len(name) + len(value) for name, value in headers.raw)
        if num_bytes > MAX_HEAD_BYTES:
            detail = f"Path and headers may have {MAX_HEAD_BYTES:,} bytes."
            return ProblemError("bad-request", detail, headers=CLOSE)
        if not HOST.fullmatch(headers.get("host", "")):
            detail = "Host must be a name or an address."
            return ProblemError("bad-request", detail, headers=CLOSE)
        if not HTTP.fullmatch(scope["http_version"]):
            detail = "Use HTTP/1.1."
            return ProblemError("bad-request", detail, headers=CLOSE)
        length = headers.get("content-length", "")
        # WHY: a proxy may trust the other of the two, and see the request end elsewhere
        # (request smuggling).
        if length and "transfer-encoding" in headers:
            return ProblemError("bad-request", headers=CLOSE)
        if length.isdecimal() and (
            len(length) > 18 or int(length) > self.max_body_bytes
        ):
            return self._too_large()
        return None

    def _too_large(self) -> ProblemError:
        detail = f"A body may have {self.max_body_bytes:,} bytes."
        # WHY close: the rest of the body is on its way, and it will not be read.
        return ProblemError("body-too-large", detail, headers=CLOSE)
