"""What the server tells about itself: request ids, JSON logs, metrics, headers.

Promise: lines of JSON, and numbers at /metrics; neither holds a text, a path or a
message that could quote one.

Not here: what is told about each request (`middleware`), and about those that are sent
away (`refusals`).
"""

from __future__ import annotations

import json
import logging
import random
import re
import sys
import time
import traceback
from typing import Any

import problems
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from distrinews.inference.batching import BatchStats

__all__ = [
    "FRAMES",
    "HEADERS",
    "Metrics",
    "choose_request_id",
    "current_request_id",
    "log",
    "log_as_json",
    "log_error",
]

log = logging.getLogger("distrinews.serve")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# The page of a Hugging Face Space shows the app in a frame. WHY no X-Frame-Options: it
# knows no list of sites, and DENY would leave that page empty.
FRAMES = "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": f"default-src 'none'; {FRAMES}",
    "Cache-Control": "no-store",
}
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
COUNTS = (1, 2, 4, 8, 16, 32, 64)
TOKENS = (16, 64, 128, 256, 512, 1024, 2048, 4096)


# --- Logs -----------------------------------------------------------------------


class JsonFormatter(logging.Formatter):
    """One line of JSON a record."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
        }
        # WHY only our own words: another library's message, or an error's, may quote
        # what it could not digest, and that is the user's text.
        if record.name.startswith(("distrinews", "uvicorn")):
            entry["event"] = record.getMessage()
        else:
            entry["event"] = f"{record.name}, {record.module} line {record.lineno}"
        entry |= getattr(record, "facts", {})
        if record.exc_info and record.exc_info[1]:
            entry |= _error_fields(record.exc_info[1])
        return json.dumps(entry)


def _error_fields(error: BaseException) -> dict[str, Any]:
    """Kind and place of an error, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    stack = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    return {"error": type(error).__name__, "where": stack}


def log_as_json(level: str) -> None:
    """Let all loggers write one line of JSON a record, to standard error.

    Args:
        level: The least important that is written.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for name in ("distrinews", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(level.upper())
    # Its lines would hold paths; `RequestMiddleware` writes ours.
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False


def log_error(event: str, error: BaseException) -> None:
    """Log kind and place of an error, without its message.

    Args:
        event: What failed.
        error: How.
    """
    log.error(
        event, exc_info=error, extra={"facts": {"request_id": current_request_id()}}
    )


def current_request_id() -> str | None:
    """Name the request that this task answers.

    Returns:
        Its id; None outside a request.
    """
    return problems.request_id.get() or None


def choose_request_id(given: str) -> str:
    """Choose the id of a request.

    Args:
        given: What its sender calls it; may be empty.

    Returns:
        That, or a new one.
    """
    # WHY not any id: it goes into our log, and could forge lines there.
    if REQUEST_ID.fullmatch(given):
        return given
    # WHY not `secrets`: it asks the operating system, and meanwhile lets other threads
    # run: the event loop would have to wait for its turn once a request.
    return f"{random.getrandbits(64):016x}"


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
            "To the answer; those refused for lack of room are left out",
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

    def observe_batch(self, stats: BatchStats) -> None:
        """Count one batch.

        Args:
            stats: What the batcher measured.
        """
        self.batch_texts.observe(stats.num_items)
        self.batch_tokens.observe(stats.num_tokens)
        self.batch_s.observe(stats.model_s)
        self.waited_s.observe(stats.waited_s)
        self.failed.inc(stats.num_failed)
