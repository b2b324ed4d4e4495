"""What the server reports about itself: JSON logs and metrics.

Neither log lines nor metrics hold a text, a path, or a message that could quote one. If
nothing reads the log, requests are still answered: lines that do not fit into a bounded
queue are dropped and counted.

Not here: the line for each request (`middleware`).
"""

from __future__ import annotations

import atexit
import functools
import json
import logging
import logging.handlers
import queue
import sys
import time
import traceback
from typing import Any

from asgi_correlation_id import correlation_id
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from distrinews.inference.batching import BatchStats

__all__ = ["Metrics", "flush", "log", "log_as_json", "log_error"]

log = logging.getLogger("distrinews.serve")

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
COUNTS = (1, 2, 4, 8, 16, 32, 64)
TOKENS = (16, 64, 128, 256, 512, 1024, 2048, 4096)
MAX_QUEUED_LINES = 10_000  # a few megabytes
FLUSH_S = 1.0  # at the end, for what is still in the queue


# --- Logs -----------------------------------------------------------------------


class JsonFormatter(logging.Formatter):
    """One line of JSON per record.

    WHY not python-json-logger: what must not be written (other libraries' messages and
    extra fields, errors' messages) would take as many lines to keep out of it.
    """

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
        }
        # WHY only our own messages: another library's, or an error's, may quote what it
        # could not read, and that is the user's text.
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


class _Dropping(logging.handlers.QueueHandler):
    """Hand lines to the thread that writes them; count those that do not fit."""

    num_dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # WHY here and not in the thread: it keeps no request's objects alive.
        return logging.makeLogRecord({"msg": self.format(record)})

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.num_dropped += 1


# One per process, as `logging` itself.
_lines: queue.Queue[Any] = queue.Queue(MAX_QUEUED_LINES)
_handler = _Dropping(_lines)
_handler.setFormatter(JsonFormatter())


def log_as_json(level: str) -> None:
    """Let all loggers write one line of JSON per record, to standard error.

    WHY from a thread: writing to a full pipe blocks, and on the event loop that would
    block every request.

    Args:
        level: The lowest level that is written.
    """
    _writer().setStream(sys.stderr)
    logging.basicConfig(handlers=[_handler], level=logging.WARNING, force=True)
    for name in ("distrinews", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(level.upper())
    # The first would write paths; `RequestMiddleware` writes our line. The second has
    # a line for each id that is refused.
    for name in ("uvicorn.access", "asgi_correlation_id"):
        logging.getLogger(name).disabled = True


@functools.cache
def _writer() -> logging.StreamHandler[Any]:
    """The handler that writes, on a separate thread."""
    handler = logging.StreamHandler(sys.stderr)
    logging.handlers.QueueListener(_lines, handler).start()
    atexit.register(flush)
    return handler


def flush() -> None:
    """Wait for the last lines to be written, but not for a pipe that is not read."""
    until_s = time.monotonic() + FLUSH_S
    while _lines.unfinished_tasks and time.monotonic() < until_s:
        time.sleep(0.001)


def log_error(event: str, error: BaseException) -> None:
    """Log kind and place of an error, without its message.

    Args:
        event: What failed.
        error: How.
    """
    facts = {"request_id": correlation_id.get()}
    log.error(event, exc_info=error, extra={"facts": facts})


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
            "batch_tokens", "Tokens in a batch, by characters", buckets=TOKENS, **own
        )
        self.batch_s = Histogram(
            "batch_seconds", "The model's time for a batch", buckets=SECONDS, **own
        )
        self.waited_s = Histogram(
            "wait_seconds", "What a batch's oldest text waited", buckets=SECONDS, **own
        )
        self.ready = Gauge("ready", "1 when /readyz says so", **own)
        dropped = Gauge("log_lines_dropped", "Log lines that nobody read", **own)
        dropped.set_function(lambda: _handler.num_dropped)

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
