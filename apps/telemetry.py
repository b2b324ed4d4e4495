"""What the server tells about itself: request ids, JSON logs, metrics, headers.

Promise: one log line a request, and numbers at /metrics; neither holds a text, a path
or a message that could quote one. Their labels come from short fixed lists, so that no
visitor can make them grow. Every answer carries a request id and the security headers,
an answer to a crash, too.
"""

from __future__ import annotations

import json
import logging
import re
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Collection
from typing import Any

import problems
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from distrinews.batching import Batch

__all__ = ["Envelope", "Metrics", "log", "log_as_json", "tell_error"]

log = logging.getLogger("distrinews.serve")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}
# The page of a Hugging Face Space shows the app in a frame. WHY no X-Frame-Options: it
# knows no list of sites, and DENY would leave that page empty.
FRAMES = "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": f"default-src 'none'; {FRAMES}",
    "Cache-Control": "no-store",
}
UI = "/ui"  # Gradio brings scripts, styles and a cache policy of its own
UI_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": FRAMES,
}
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
COUNTS = (1, 2, 4, 8, 16, 32, 64)
TOKENS = (16, 64, 128, 256, 512, 1024, 2048, 4096)


# --- Logs -----------------------------------------------------------------------


class _AsJson(logging.Formatter):
    """One line of JSON a record."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
        }
        # WHY only our own words: another library's message, or an error's, may quote
        # what it could not digest, and that is the user's text.
        if record.name.startswith(("distrinews", "uvicorn")):
            told["event"] = record.getMessage()
        else:
            told["event"] = f"{record.name}, {record.module} line {record.lineno}"
        told |= getattr(record, "facts", {})
        if record.exc_info and record.exc_info[1]:
            told |= _without_words(record.exc_info[1])
        return json.dumps(told)


def _without_words(error: BaseException) -> dict[str, Any]:
    """Kind and place of an error, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error": type(error).__name__, "where": places}


def log_as_json(level: str) -> None:
    """Let all loggers write one line of JSON a record, to standard error.

    Args:
        level: The least important that is written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_AsJson())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("distrinews", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(level.upper())
    # Its lines would hold paths; `Envelope` writes ours.
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False


def tell_error(event: str, error: BaseException) -> None:
    """Log kind and place of an error, without its message.

    Args:
        event: What failed.
        error: How.
    """
    log.error(event, exc_info=error, extra={"facts": {"request_id": current_id()}})


def current_id() -> str | None:
    """Name the request that this task answers.

    Returns:
        Its id; None outside a request.
    """
    return problems.request_id.get() or None


# --- Metrics --------------------------------------------------------------------


class Metrics:
    """The numbers at /metrics, of one app."""

    def __init__(self) -> None:
        # WHY not the global registry: two apps in one process would share it.
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry, "namespace": "distrinews"}
        self.requests = Counter(
            "requests", "Requests answered", ["route", "method", "status"], **own
        )
        self.request_s = Histogram(
            "request_seconds",
            "To the answer",
            ["route"],
            buckets=SECONDS,
            **own,
        )
        self.in_flight = Gauge("requests_in_flight", "Requests not yet answered", **own)
        self.waiting = Gauge("texts_waiting", "Texts in the queue", **own)
        self.texts = Counter("texts", "Texts answered", ["label", "truncated"], **own)
        self.failed = Counter("texts_failed", "Texts at which the model failed", **own)
        self.batch_texts = Histogram(
            "batch_texts", "Texts computed together", buckets=COUNTS, **own
        )
        self.batch_tokens = Histogram(
            "batch_tokens", "Tokens computed together", buckets=TOKENS, **own
        )
        self.batch_s = Histogram(
            "batch_seconds", "The model's time for a batch", buckets=SECONDS, **own
        )
        self.waited_s = Histogram(
            "wait_seconds", "What a batch's oldest text waited", buckets=SECONDS, **own
        )
        self.ready = Gauge("ready", "1 when /readyz says so", **own)

    def observe_batch(self, batch: Batch) -> None:
        """Count one batch.

        Args:
            batch: What the batcher tells about it.
        """
        self.batch_texts.observe(batch.num_items)
        self.batch_tokens.observe(batch.num_tokens)
        self.batch_s.observe(batch.model_s)
        self.waited_s.observe(batch.waited_s)
        self.failed.inc(batch.num_failed)


# --- Around every request -------------------------------------------------------


class Envelope:
    """What all requests have in common: id, headers, limits, log line, metrics.

    Args:
        app: What answers.
        metrics: What counts.
        max_body_bytes: More is refused.
        check_room: Raises a ProblemError when there is no room for one text more.
        guarded: Paths whose POST asks for room. WHY here and not in the route: under
            overload nearly all requests are refused, and what one of them costs decides
            how long all others wait for the event loop. Routing and its exception
            handlers cost several times as much.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        max_body_bytes: int,
        check_room: Callable[[], None] = lambda: None,
        guarded: Collection[str] = (),
    ) -> None:
        self.app, self.metrics = app, metrics
        self.max_body_bytes = max_body_bytes
        self.check_room, self.guarded = check_room, guarded

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
        given = Headers(scope=scope).get("x-request-id", "")
        # WHY not any id: it goes into our log, and could forge lines there.
        known = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        token = problems.request_id.set(known)
        told = scope["distrinews"] = {}
        status, began_s = 0, time.perf_counter()

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = known
                for name, value in (UI_HEADERS if _is_ui(scope) else HEADERS).items():
                    headers.setdefault(name, value)
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self._answer(scope, receive, send_on)
        except Exception as error:
            tell_error("crash", error)
            if not status:  # else the answer has begun: it can only be cut off
                crash = problems.answer(problems.ProblemError("internal"))
                await crash(scope, receive, send_on)
        finally:
            self.metrics.in_flight.dec()
            self._tell(scope, status, time.perf_counter() - began_s, told)
            problems.request_id.reset(token)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit, came = self.max_body_bytes, 0
        # WHY close: the rest of the body is on its way, and nobody will read it.
        too_large = problems.ProblemError(
            "body-too-large",
            f"A body may have {limit:,} bytes.",
            headers={"Connection": "close"},
        )
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and (len(length) > 18 or int(length) > limit):
            await problems.answer(too_large)(scope, receive, send)
            return
        if self._is_guarded(scope):
            try:
                self.check_room()
            except problems.ProblemError as error:
                await problems.answer(error)(scope, receive, send)
                return

        async def receive_counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > limit:  # a body that came in chunks, its length unannounced
                raise too_large
            return message

        await self.app(scope, receive_counted, send)

    def _is_guarded(self, scope: Scope) -> bool:
        return scope["method"] == "POST" and scope["path"] in self.guarded

    def _tell(
        self, scope: Scope, status: int, seconds: float, told: dict[str, Any]
    ) -> None:
        # WHY the template of the route and never the path: paths are endless, and a
        # visitor may put a text into one.
        refused = scope["path"] if self._is_guarded(scope) else "unmatched"
        known = getattr(scope.get("route"), "path", refused)
        route = UI if _is_ui(scope) else known
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.metrics.requests.labels(route, method, str(status)).inc()
        self.metrics.request_s.labels(route).observe(seconds)
        facts = {
            "request_id": current_id(),
            "method": method,
            "route": route,
            "status": status,  # 0: cut off before an answer began
            "ms": round(seconds * 1000, 1),
        }
        log.info("request", extra={"facts": facts | told})


def _is_ui(scope: Scope) -> bool:
    path = scope["path"]
    return bool(path == UI or path.startswith(f"{UI}/"))
