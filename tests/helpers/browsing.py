"""A real browser for proofs, and a free port for what it looks at."""

from __future__ import annotations

import contextlib
import shutil
import socket
import urllib.request
from collections.abc import Generator
from typing import Any

import pytest
from helpers.running import Program, wait_until

__all__ = ["browser", "free_port", "wait_for_answer"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def browser() -> Generator[Any, None, None]:
    """Chromium, or a skipped test where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with api.sync_playwright() as playwright:
        # WHY --no-sandbox: in a container root may not make the sandbox's namespaces.
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        try:
            yield chromium
        finally:
            chromium.close()


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_answer(program: Program, url: str, *, timeout_s: float) -> float:
    """Wait until a server answers 200; fail at once if its program ends."""

    def answers() -> bool:
        if program.process.poll() is not None:
            raise AssertionError(f"ended early: {program.out}\n{program.err}")
        # WHY not httpx: files that import this one are collected where it is absent.
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return True
        return False

    return wait_until(answers, timeout_s=timeout_s, what=f"{url}: {program.err}")
