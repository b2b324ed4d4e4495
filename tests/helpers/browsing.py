"""A real browser for proofs, and a free port for what it looks at."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import socket
import urllib.request
from collections.abc import Generator
from typing import Any

import pytest
from helpers.running import Program, wait_until

__all__ = ["DESK", "PHONE", "Visit", "browser", "free_port", "wait_for_answer"]

PHONE, DESK = (360, 740), (1100, 800)
# Where to keep pictures of the page, for people to look at.
PICTURES = os.environ.get("DISTRINEWS_PICTURES")

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


class Visit:
    """One visitor's window on the demo page, and every address that it asked for."""

    def __init__(
        self, chromium: Any, url: str, *, size: tuple[int, int], dark: bool = False
    ) -> None:
        self.window = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
        )
        self.page = self.window.new_page()
        self.page.set_default_timeout(20_000)
        self.asked: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(url)
        self.box = self.page.get_by_label("Text", exact=True)
        self.box.wait_for()

    def type(self, text: str) -> None:
        self.box.fill(text)
        self.box.press("Enter")

    def sees(self, text: str) -> None:
        self.page.get_by_text(text).first.wait_for()

    def bars(self) -> list[str]:
        """Class and percentage of each bar, from the top."""
        rows = self.page.locator("#bars tr")
        return [" ".join(row.inner_text().split()) for row in rows.all()]

    def is_wider_than_the_window(self) -> bool:
        script = "document.documentElement.scrollWidth > window.innerWidth"
        return bool(self.page.evaluate(script))

    def background(self) -> int:
        """How bright the page is: the sum of red, green and blue."""
        script = "getComputedStyle(document.body).backgroundColor"
        numbers = self.page.evaluate(script).split("(")[1].rstrip(")").split(",")
        return sum(int(float(number)) for number in numbers[:3])

    def keep_picture(self, name: str) -> None:
        if PICTURES:
            path = pathlib.Path(PICTURES) / f"{name}.png"
            self.page.screenshot(path=path, full_page=True)
