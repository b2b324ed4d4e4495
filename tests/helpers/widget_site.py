"""A small site with the real theme, and a page for each widget."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

import docs_site
from mkdocs.commands.build import build
from mkdocs.config import load_config

__all__ = ["pages", "served"]

ROOT = pathlib.Path(__file__).resolve().parents[2]
SITE = ROOT / "site_docs"
PALETTE = [
    {"media": "(prefers-color-scheme: light)", "scheme": "default"},
    {"media": "(prefers-color-scheme: dark)", "scheme": "slate"},
]


@contextlib.contextmanager
def served(folder: pathlib.Path, names: Sequence[str]) -> Generator[str, None, None]:
    """Build pages from `site_docs/widgets/NAME.html`; yield the server's address."""
    docs = folder / "docs"
    docs.mkdir()
    (docs / "assets").symlink_to(SITE / "assets")
    (docs / "index.md").write_text("# Home\n\nNo widget here.\n", encoding="utf-8")
    for name in names:
        page = f'# A page\n\n## The idea\n\n--8<-- "widgets/{name}.html"\n\nText.\n'
        (docs / f"{name}.md").write_text(page, encoding="utf-8")
    real = load_config(str(ROOT / "mkdocs.yml"))
    snippets = {"base_path": [str(ROOT), str(SITE)], "check_paths": True}
    # WHY through a file: mkdocs looks for relative paths beside it.
    (folder / "mkdocs.yml").write_text("site_name: Widgets\n", encoding="utf-8")
    built = load_config(
        str(folder / "mkdocs.yml"),
        docs_dir=str(docs),
        site_dir=str(folder / "site"),
        theme={"name": "material", "font": False, "palette": PALETTE},
        plugins=[],
        markdown_extensions=["md_in_html", {"pymdownx.snippets": snippets}],
        extra_css=real.extra_css,
        extra_javascript=[{"path": "assets/widgets/widgets.js", "type": "module"}],
    )
    build(built)
    assert any("widgets/widgets.js" in str(one) for one in real.extra_javascript)
    with docs_site.served(folder / "site") as where:
        yield where


@contextlib.contextmanager
def pages(
    chromium: Any, *, timeout_ms: int
) -> Generator[Callable[..., Any], None, None]:
    """Yield what opens an address; at the end, no page may have complained."""
    complaints: list[str] = []
    contexts = []

    def go(address: str, *, width: int, height: int, **options: Any) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, **options
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(timeout_ms)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: message.type == "error" and complaints.append(message.text),
        )
        page.goto(address)
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []
