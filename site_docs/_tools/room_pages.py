"""Draw the library's packages: layers from pyproject.toml, arrows from the imports.

The picture `site_docs/diagrams/rooms.svg` is in CONTRIBUTING.md and on the first page
of the reference. Its layers are those of the import law ([tool.importlinter]); its
arrows are the imports that the code has today.
"""

from __future__ import annotations

import ast
import html
import pathlib
import textwrap
import tomllib

import grimp
import networkx
from records import ROOT, SITE

__all__ = ["PICTURE", "files", "imports", "layers", "picture"]

LIBRARY = ROOT / "distrinews"
PICTURE = SITE / "diagrams" / "rooms.svg"
# What a training script of one's own imports.
BUILDING_BLOCKS = {"dist", "sharding", "sync", "checkpoint", "metrics"}
WIDTH, BOX_WIDTH, BOX_HEIGHT, GAP = 820, 172, 62, 30
# Arrows that run along the margin: they would pass behind more than one room.
MARGIN = 7
ALONG_LEFT, ALONG_RIGHT = {("course", "config")}, {("cli", "doctor")}
LINE_CHARACTERS, MAX_LINES = 28, 2
# The middle of a room, as a part of the width, where an even spread would cross more
# arrows. A room that is not named here is placed evenly.
MIDDLES = {
    "cli": 0.5,
    "course": 0.14,
    "bench": 0.42,
    "training": 0.6,
    "model": 0.42,
    "metrics": 0.65,
    "inference": 0.87,
    "tracing": 0.16,
    "data": 0.65,
    "config": 0.14,
    "system": 0.5,
}
DESCRIPTION = (
    "Packages in layers, from the commands at the top to the errors at the bottom. "
    "Arrows are imports; they only go down. The five building blocks dist, sharding, "
    "sync, checkpoint and metrics are marked."
)
STYLE = """
.room { fill: #f2f4f9; stroke: #5f6b80; }
.block { fill: #dbe9fb; stroke: #1565c0; stroke-width: 2; }
.room-name { fill: #16202e; font: 700 15px system-ui, sans-serif; }
.room-about { fill: #3c4657; font: 11px system-ui, sans-serif; }
.room-import { fill: none; stroke: #7a869a; stroke-width: 1.2; }
.room-head { fill: #7a869a; }
@media (prefers-color-scheme: dark) { svg:root .room { fill: #232a36; stroke: #8c98ab; }
svg:root .block { fill: #16304f; stroke: #82b1ff; }
svg:root .room-name { fill: #f0f3f8; } svg:root .room-about { fill: #c3ccd9; } }
[data-md-color-scheme="slate"] .room { fill: #232a36; stroke: #8c98ab; }
[data-md-color-scheme="slate"] .block { fill: #16304f; stroke: #82b1ff; }
[data-md-color-scheme="slate"] .room-name { fill: #f0f3f8; }
[data-md-color-scheme="slate"] .room-about { fill: #c3ccd9; }
"""


def layers() -> list[list[str]]:
    """Read the import law: the rooms, the top layer first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    [law] = [
        contract
        for contract in contracts
        if contract.get("containers") == ["distrinews"]
    ]
    return [line.split(" | ") for line in law["layers"]]


def imports() -> dict[str, set[str]]:
    """Read which room imports which.

    Returns:
        Room -> the other rooms that a file of it imports, anywhere in it.
    """
    graph = grimp.build_graph("distrinews", cache_dir=None)
    return {
        child.partition(".")[2]: {
            module.split(".")[1]
            for module in graph.find_modules_directly_imported_by(
                child, as_package=True
            )
            if module != "distrinews"
        }
        for child in graph.find_children("distrinews")
    }


def _about(room: str) -> str:
    """The first line of a room's docstring, up to its first colon or full stop."""
    path = LIBRARY / room / "__init__.py"
    path = path if path.is_file() else LIBRARY / f"{room}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = text.partition("\n")[0]
    for mark in (": ", "; "):
        if len(first) > LINE_CHARACTERS * MAX_LINES:
            first = first.partition(mark)[0]
    return first.rstrip(".").replace("`", "")


def _arrow(room: str, lower: str, corners: dict[str, tuple[float, float]]) -> str:
    """A path from a room down to another; it may pass behind a third."""
    (x, y), (to_x, to_y) = corners[room], corners[lower]
    x, to_x = x + BOX_WIDTH / 2, to_x + BOX_WIDTH / 2
    # Towards the other room, so that arrows of one room part early.
    x += max(-1.0, min(1.0, (to_x - x) / 300)) * BOX_WIDTH * 0.3
    to_x += max(-1.0, min(1.0, (x - to_x) / 300)) * BOX_WIDTH * 0.3
    y += BOX_HEIGHT
    bend = max(GAP * 0.8, (to_y - y) * 0.45)
    left = (room, lower) in ALONG_LEFT
    if not left and (room, lower) not in ALONG_RIGHT:
        return (
            f"M{x:.0f} {y:.0f}C{x:.0f} {y + bend:.0f} "
            f"{to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y - 2:.0f}"
        )
    lane = MARGIN if left else WIDTH - MARGIN
    start = corners[room][0] + (0 if left else BOX_WIDTH)
    end = corners[lower][0] + (-2 if left else BOX_WIDTH + 2)
    start_y = corners[room][1] + BOX_HEIGHT / 2
    end_y = corners[lower][1] + BOX_HEIGHT / 2
    return (
        f"M{start:.0f} {start_y:.0f}C{lane} {start_y:.0f} {lane} {start_y:.0f} "
        f"{lane} {start_y + 40:.0f}L{lane} {end_y - 40:.0f}"
        f"C{lane} {end_y:.0f} {lane} {end_y:.0f} {end:.0f} {end_y:.0f}"
    )


def picture() -> str:
    """Draw the rooms: an SVG with styles of its own, for a page and an image alike."""
    rows = layers()
    height = len(rows) * (BOX_HEIGHT + GAP) + 10
    corners: dict[str, tuple[float, float]] = {}
    for layer, row in enumerate(rows):
        gap = (WIDTH - len(row) * BOX_WIDTH) / (len(row) + 1)
        for index, room in enumerate(row):
            x = gap + index * (BOX_WIDTH + gap)
            if room in MIDDLES:
                x = MIDDLES[room] * WIDTH - BOX_WIDTH / 2
            corners[room] = (x, 5 + layer * (BOX_HEIGHT + GAP))
    # WHY not all imports: an arrow that a chain of others implies would only hide them.
    arrows = networkx.transitive_reduction(networkx.DiGraph(imports())).edges
    lines = [
        '<path class="room-import" marker-end="url(#rooms-head)" '
        f'd="{_arrow(room, lower, corners)}"/>'
        for room, lower in sorted(arrows)
    ]
    for room, (x, y) in corners.items():
        kind = "block" if room in BUILDING_BLOCKS else "room"
        middle = x + BOX_WIDTH / 2
        lines.append(
            f'<rect class="{kind}" x="{x:.0f}" y="{y}" width="{BOX_WIDTH}" '
            f'height="{BOX_HEIGHT}" rx="6"/>'
        )
        lines.append(
            f'<text class="room-name" x="{middle:.0f}" y="{y + 19}" '
            f'text-anchor="middle">{room}</text>'
        )
        wrapped = textwrap.wrap(_about(room), LINE_CHARACTERS)
        for number, text in enumerate(wrapped[:MAX_LINES]):
            lines.append(
                f'<text class="room-about" x="{middle:.0f}" y="{y + 36 + 15 * number}" '
                f'text-anchor="middle">{html.escape(text)}</text>'
            )
    body = "\n".join(f"  {line}" for line in lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'role="img" aria-labelledby="rooms-title rooms-desc" '
        'style="min-width: 34rem">\n'
        '  <title id="rooms-title">The packages of the library</title>\n'
        f'  <desc id="rooms-desc">{DESCRIPTION}</desc>\n'
        f"  <style>{STYLE}  </style>\n"
        '  <defs><marker id="rooms-head" viewBox="0 0 10 10" refX="9" refY="5" '
        'markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="room-head" d="M0 0L10 5L0 10z"/></marker></defs>\n'
        f"{body}\n</svg>\n"
    )


def files() -> dict[pathlib.Path, str]:
    """The picture."""
    return {PICTURE: picture()}
