"""The process around the app: listening, signals, the end.

SIGTERM and Ctrl-C let requests in flight finish, then the process ends with code 0.

Not here: what a client may send, and how slowly (`wire`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from serve_settings import ServeSettings, environment_help
from telemetry import flush, log, log_as_json
from wire import TimedH11Protocol

from distrinews.config import flags
from distrinews.errors import SettingsError
from distrinews.inference.bundle import open_bundle

__all__ = ["main", "run"]

# GIL switch interval: how long a thread may hold the GIL while others wait.
# WHY not Python's 0.005: the model's thread comes back from ONNX Runtime after 5 ms and
# needs the GIL for a moment to take its next text. In a flood the event loop always
# holds it, and the cores stood idle: the model answered 0.69 of the texts that it
# answers without a flood; with 0.0005 it was 0.79 (6 s each), with less hardly more.
SWITCH_INTERVAL_S = 1e-4


class _Server(uvicorn.Server):
    """A server that reports "not ready" before it leaves."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to leave.

        Args:
            sig: The signal.
            frame: Where Python was when it came.
        """
        app = self.config.app
        first = not self._captured_signals
        app.state.service.start_draining()  # type: ignore[union-attr]
        notice_s = app.state.settings.notice_s  # type: ignore[union-attr]
        if first and notice_s and self.started:
            self._captured_signals.append(sig)
            loop = asyncio.get_event_loop()
            loop.call_soon_threadsafe(loop.call_later, notice_s, self._exit_now)
            return
        super().handle_exit(sig, frame)

    def _exit_now(self) -> None:
        self.should_exit = True


def run(app: FastAPI) -> None:
    """Serve until a signal comes.

    Args:
        app: What `create_app` made.

    Raises:
        SettingsError: The address is taken or is none of this machine's.
        DistriNewsError: The model cannot be loaded.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    settings: ServeSettings = app.state.settings
    log_as_json(settings.log_level)
    listener = _listen(settings)
    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        app,
        http=TimedH11Protocol,
        ws="none",  # nothing here uses web sockets
        # WHY so far above the queue's limit: this refusal is plain text, and meets
        # health checks, too.
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=settings.keep_alive_s,  # type: ignore[arg-type]
        root_path=settings.root_path,
        forwarded_allow_ips=settings.trusted_proxies,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    server = _Server(config)
    service = app.state.service

    def stop() -> None:
        server.should_exit = True

    service.on_failure = stop
    # WHY: uvicorn raises the signal again when all is done, and the process would end
    # with 143. It puts these handlers back before.
    for number in uvicorn.server.HANDLED_SIGNALS:
        signal.signal(number, lambda *_: None)
    # A terminal that closes sends SIGHUP; `nohup` has us ignore it.
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        signal.signal(hangup, server.handle_exit)
    url_host = f"[{host}]" if ":" in host else host
    facts = {"url": f"http://{url_host}:{port}", "pid": os.getpid()}
    log.warning("listening", extra={"facts": facts})
    server.run(sockets=[listener])
    if service.state == "failed":
        raise service.failure or RuntimeError("the model cannot be loaded")
    log.warning("left")
    flush()
    # WHY no orderly exit: it would wait for a model that hangs, and for a standard
    # error that nobody reads.
    os._exit(0)


def _listen(settings: ServeSettings) -> socket.socket:
    """Take the port before anything slow begins."""
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listener = socket.socket(family)
        if os.name == "posix":  # WHY: on Windows it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {settings.host}, port {settings.port}: "
            f"{error.strerror or error}.",
            why="another program has this port, or the address is not this machine's.",
            fix="--port 8001, or --host 127.0.0.1",
            page="serve",
        ) from None
    return listener


def main(create_app: Callable[[ServeSettings], FastAPI], *, about: str) -> None:
    """Serve what the command line names.

    Args:
        create_app: Makes the app from its settings.
        about: What `--help` says of it.

    Raises:
        SettingsError: No model is named, or as `run` says.
        DistriNewsError: The model cannot be opened.
    """
    settings = flags.parse(ServeSettings, about=f"{about}\n{environment_help()}")
    if not settings.model:
        raise SettingsError(
            "no model is given.",
            why="the server needs weights, a tokenizer and the names of the classes.",
            fix="train one in about two minutes, then serve it:\n"
            "          python chapters/05_ddp_training.py --run-name mine\n"
            "          python apps/api.py --model runs/mine\n"
            "        or fetch an exported one from the Hub:\n"
            "          hf download USER/MODEL --local-dir model\n"
            "          python apps/api.py --model model",
            page="serve",
        )
    open_bundle(settings.model)  # WHY now: a wrong path is reported before all else
    run(create_app(settings))
