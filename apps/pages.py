"""What a browser gets: the demo page, the page of the API, and the ways to them.

Not here: how the page of the API is written (`docs_page`).
"""

from __future__ import annotations

import pathlib

import docs_page
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from problems import ProblemError

__all__ = ["FOLDER", "routes"]

FOLDER = pathlib.Path(__file__).parent / "page"
routes = APIRouter(include_in_schema=False)


@routes.get("/docs")
async def docs(request: Request) -> Response:
    """Show the API to a human."""
    has_ui = request.app.state.settings.ui
    return HTMLResponse(docs_page.render(request, has_ui=has_ui))


@routes.get("/")
async def root(request: Request) -> Response:
    """Lead a visitor to something to look at."""
    # WHY relative, here and below: behind a proxy, neither scheme nor path are ours.
    return RedirectResponse("ui" if request.app.state.settings.ui else "docs")


@routes.get("/ui")
async def demo(request: Request) -> Response:
    """Show the demo page."""
    if not request.app.state.settings.ui:
        raise ProblemError("not-found")
    return FileResponse(FOLDER / "index.html")


@routes.get("/ui/")
async def demo_with_slash() -> Response:
    """Lead to where the page's own addresses are right."""
    return RedirectResponse("../ui")
