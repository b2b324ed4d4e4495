"""The app with a fake model, as a process that one can talk to."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import httpx
from helpers.running import HELPERS, Program, wait_until

__all__ = ["Served", "free_port"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served:
    """The app with a fake model, in a process of its own.

    Args:
        folder: For what it writes.
        wait: Return only when it is ready.
        seconds: What the model takes for a batch.
        limits: Settings of the app; and `load_s`, what loading the model takes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        wait: bool = True,
        seconds: float = 0.0,
        **limits: float | str,
    ) -> None:
        self.port = free_port()
        words = [f"{name}={value}" for name, value in limits.items()]
        program = (HELPERS / "serving.py", self.port, seconds, *words)
        self.program = Program(program, folder=folder)
        self.url = f"http://127.0.0.1:{self.port}"
        wait_until(self.is_alive, timeout_s=60, what="a server that listens")
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until it is ready."""
        wait_until(self.is_ready, timeout_s=60, what="a server that is ready")

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=30)

    def predict(self, text: str = "Oil prices rise") -> httpx.Response:
        return httpx.post(f"{self.url}/predict", json={"text": text}, timeout=30)

    def is_alive(self) -> bool:
        assert self.program.process.poll() is None, self.program.err
        with contextlib.suppress(httpx.HTTPError):
            return self.get("/healthz").status_code == 200
        return False

    def is_ready(self) -> bool:
        return self.get("/readyz").status_code == 200

    def exchange(self, *parts: bytes, pause_s: float = 0.0) -> bytes:
        """Send bytes; return all that comes back until the server closes."""
        address = ("127.0.0.1", self.port)
        with socket.create_connection(address, timeout=10) as connection:
            response = b""
            with contextlib.suppress(ConnectionError):  # it closes before it has all
                for part in parts:
                    connection.sendall(part)
                    time.sleep(pause_s)
            with contextlib.suppress(ConnectionError):
                while part := connection.recv(65536):
                    response += part
        return response
