"""What a browser gets: the demo page, the page of the API, and the ways to them.

Not here: how the page of the API is written (`docs_page`).
"""

from __future__ import annotations

import pathlib

import contract
import docs_page
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from problems import ProblemError

__all__ = ["front_door", "routes"]

HERE = pathlib.Path(__file__).parent
# The second holds the course's pictures; a Space's folder has them in the first.
FOLDERS = (HERE / "page", HERE.parent / "site_docs/diagrams")
# WHY not Starlette's StaticFiles: on Windows it asks the registry for a file's media
# type, and browsers run no script of another type; and it answers a wrong Range in
# plain text.
MEDIA_TYPES = {
    "index.html": "text/html",
    "page.css": "text/css",
    "page.js": "text/javascript",
    "engine.js": "text/javascript",
    "games.js": "text/javascript",
    "record.js": "text/javascript",
    "refusal.js": "text/javascript",
    "words.js": "text/javascript",
    "icon.svg": "image/svg+xml",
    "ddp-step.svg": "image/svg+xml",
}


def _read(name: str) -> bytes:
    """The content of a file of the demo page."""
    [path] = [folder / name for folder in FOLDERS if (folder / name).is_file()]
    return path.read_bytes()


CONTENTS = {name: _read(name) for name in MEDIA_TYPES}
routes = APIRouter(include_in_schema=False)
# WHY in the schema: the same path also takes a POST, and programs see both.
front_door = APIRouter(responses=contract.problem_responses())


@routes.get("/docs")
async def docs(request: Request) -> Response:
    """Show the API to a human."""
    has_ui = request.app.state.settings.ui
    return HTMLResponse(docs_page.render(request, has_ui=has_ui))


@front_door.get(
    "/",
    response_class=HTMLResponse,
    responses={200: {"description": "A page for people, by a redirect"}},
)
async def root(request: Request) -> Response:
    """Lead a visitor to something to look at."""
    # WHY relative, here and below: behind a proxy, neither scheme nor path are ours.
    return RedirectResponse("ui" if request.app.state.settings.ui else "docs")


@routes.get("/ui")
async def demo(request: Request) -> Response:
    """Show the demo page."""
    if not request.app.state.settings.ui:
        raise ProblemError("not-found")
    return await file("index.html")


@routes.get("/ui/")
async def demo_with_slash() -> Response:
    """Lead to where the page's own addresses are right."""
    return RedirectResponse("../ui")


@routes.get("/static/{name}")
async def file(name: str) -> Response:
    """Send a file of the demo page."""
    if name not in CONTENTS:
        raise ProblemError("not-found")
    return Response(CONTENTS[name], media_type=MEDIA_TYPES[name])
