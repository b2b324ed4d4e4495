"""What a browser finds wrong with a page of the site: axe, requests, errors, width."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import urllib.parse
from collections.abc import Callable, Generator
from typing import Any

import pytest

__all__ = [
    "DARK",
    "LIGHT",
    "LOOKS",
    "NARROW",
    "NARROW_DARK",
    "Look",
    "Visitor",
    "axe_script",
    "open_details",
    "open_menu",
    "open_search",
    "use_widgets",
    "visitor",
]


@dataclasses.dataclass(frozen=True)
class Look:
    """How a page is looked at."""

    name: str
    width: int
    dark: bool


LIGHT = Look("light 1280", 1280, dark=False)
DARK = Look("dark 1280", 1280, dark=True)
NARROW = Look("light 360", 360, dark=False)
NARROW_DARK = Look("dark 360", 360, dark=True)
LOOKS = (LIGHT, DARK, NARROW, NARROW_DARK)
FIND = """async () => {
  // What the page's scripts name in the next frame.
  for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
  const results = await window.axe.run(document, {resultTypes: ["violations"]});
  return results.violations.flatMap(rule => rule.nodes.map(node =>
    `axe ${rule.id}: ${node.target.join(" ")} (${node.html.slice(0, 160)})`
    + (rule.id === "color-contrast" ? ` ${node.any[0].message}` : "")));
}"""
WIDE = """() => {
  const page = document.documentElement;
  if (page.scrollWidth <= page.clientWidth) return [];
  const wide = [...document.querySelectorAll("body *")].filter(node =>
    node.getBoundingClientRect().right > page.clientWidth + 1).slice(0, 3);
  return [`scrolls sideways: ${page.scrollWidth} px in ${page.clientWidth}: `
    + wide.map(node => node.outerHTML.slice(0, 100)).join(" | ")];
}"""
DETAILS = """() => {
  document.querySelectorAll("details").forEach(details => { details.open = true });
}"""

WIDGETS_ARE_READY = """() => [...document.querySelectorAll(".widget-place > *")]
  .every(widget => widget.hasAttribute("ready") || widget.hasAttribute("blocked"))"""


def axe_script() -> str:
    """The text of axe-core, or a skipped test where it is not installed."""
    package = pytest.importorskip("axe_playwright_python")
    folder = pathlib.Path(package.__file__).parent
    return (folder / "axe.min.js").read_text(encoding="utf-8")


class Visitor:
    """One window that goes from page to page and notes what is wrong."""

    def __init__(self, chromium: Any, origin: str, look: Look) -> None:
        self.look = look
        self.origin = origin.rstrip("/")
        self.window = chromium.new_context(
            viewport={"width": look.width, "height": 800},
            color_scheme="dark" if look.dark else "light",
            reduced_motion="reduce",
        )
        self.window.add_init_script(axe_script())
        self.page = self.window.new_page()
        self.page.set_default_timeout(20_000)
        self.heard: list[str] = []
        self.page.on("request", self._on_request)
        self.page.on("pageerror", lambda error: self.heard.append(f"error: {error}"))
        self.page.on("console", self._on_console)
        self.page.on("requestfailed", self._on_failed)

    def _on_request(self, request: Any) -> None:
        address = urllib.parse.urlsplit(request.url)
        if f"{address.scheme}://{address.netloc}" != self.origin and (
            address.scheme not in {"data", "blob"}
        ):
            self.heard.append(f"asks another origin: {request.url}")

    def _on_failed(self, request: Any) -> None:
        # WHY not what was aborted: the page before, which we left, had asked for it.
        if request.failure != "net::ERR_ABORTED":
            self.heard.append(f"did not get {request.url}")

    def _on_console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.heard.append(f"console {message.type}: {message.text}")

    def faults(
        self, path: str, *, then: Callable[[Any], None] | None = None
    ) -> list[str]:
        """Go to a page, do something there, say what is wrong with it.

        Args:
            path: Below the origin, with a leading slash.
            then: What to do on the page first; gets Playwright's page.

        Returns:
            A line for each fault, with look and path.
        """
        self.heard.clear()
        answer = self.page.goto(self.origin + path, wait_until="load")
        lines = [] if answer.ok else [f"status {answer.status}"]
        if then is not None:
            then(self.page)
        lines += self.page.evaluate(FIND) + self.page.evaluate(WIDE)
        lines += self.heard
        return [f"{path} ({self.look.name}): {line}" for line in lines]


def open_details(page: Any) -> None:
    """Open everything that is folded."""
    page.evaluate(DETAILS)


def use_widgets(page: Any) -> None:
    """Open what is folded and veiled, press each widget's main button: in mid-run."""
    open_details(page)
    # WHY: a widget that still loads has no button yet, and is veiled a moment later.
    page.wait_for_function(WIDGETS_ARE_READY)
    for button in page.get_by_role("button", name="Show me").all():
        button.click()
    for button in page.locator(".w-frame button.w-main:visible:enabled").all():
        button.click()


def open_search(page: Any) -> None:
    """Open the search and find something."""
    page.keyboard.press("/")
    page.get_by_role("textbox", name="Search").fill("gradient")
    page.locator(".md-search-result__item").first.wait_for()


def open_menu(page: Any) -> None:
    """Open the navigation of a narrow window."""
    page.locator("label.md-header__button[for=__drawer]").click()
    page.locator("nav.md-nav--primary").wait_for()


@contextlib.contextmanager
def visitor(chromium: Any, origin: str, look: Look) -> Generator[Visitor, None, None]:
    """A visitor, whose window is closed in the end."""
    new_visitor = Visitor(chromium, origin, look)
    try:
        yield new_visitor
    finally:
        new_visitor.window.close()
