"""The pages of the library: every public name of every module, a page for each room.

A page holds, for each of the room's modules, the header's text with its names as links,
and then a line of mkdocstrings (`::: distrinews.sync.ring.ring_all_reduce`) for each
public name, in the order of the file.

WHY one line a name and not one a module, which mkdocstrings would take, too: a name
that a module only passes on becomes a link to where it is written, not a second copy
with the same anchor; a header's words in backticks become links; and what stands on a
page is read in the page. Griffe, by which mkdocstrings reads code, says what is public.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterator

import griffe
from records import ROOT, SITE

__all__ = ["FOLDER", "ROOMS", "Module", "modules", "pages", "public_names", "slug"]

FOLDER = SITE / "reference" / "api"
GUIDE = re.compile(r"\n*^Guide: (\S+?)\.?$", re.MULTILINE)
NAME = re.compile(r"`(distrinews\.[\w.]+|\.\w+)`")

# A room's page: its name, its title. In the order of the navigation: the five building
# blocks first. What a room is about stands in its own docstring.
ROOMS = (
    ("dist", "dist: ranks and processes"),
    ("sharding", "sharding: who reads which row"),
    ("sync", "sync: averaging gradients"),
    ("checkpoint", "checkpoint: save and resume"),
    ("metrics", "metrics: figures over all ranks"),
    ("training", "training: parts of the chapters' loops"),
    ("data", "data: rows, labels, tokens"),
    ("model", "model: the news classifier"),
    ("inference", "inference: answers from an export"),
    ("tracing", "tracing: what every rank did, when"),
    ("bench", "bench: measurements"),
    ("bench.costmodel", "bench.costmodel: predictions"),
    ("doctor", "doctor: what is wrong, and the cure"),
    ("course", "course: labs, exercises, interview"),
    ("config", "config: settings and flags"),
    ("cli", "cli: the commands"),
    ("system", "system: this machine and its disk"),
    ("errors", "errors: what, why, fix"),
)


@dataclasses.dataclass(frozen=True)
class Module:
    """A module of the library, as its page shows it."""

    name: str
    about: str  # the header's docstring, without its guide
    guide: str  # "understand/gradient-sync", or nothing
    own: tuple[str, ...]  # public names written here, in the order of the file
    re_exported: tuple[tuple[str, str], ...]  # (public name, where it is written)


@functools.cache
def modules() -> dict[str, Module]:
    """Every module that has public names, by its name below the package."""
    package = griffe.load("distrinews", search_paths=[ROOT], allow_inspection=False)
    # No public name: the few lines behind `python -m distrinews`.
    found = (_read(m) for m in _below(package) if m.name != "__main__")
    return {module.name: module for module in sorted(found, key=lambda m: m.name)}


def _below(module: griffe.Module) -> Iterator[griffe.Module]:
    for inner in module.modules.values():
        if not inner.is_alias:  # not one that is only imported
            yield inner
            yield from _below(inner)


def _read(module: griffe.Module) -> Module:
    about = module.docstring.value if module.docstring else ""
    guide = GUIDE.search(about)
    public = set(map(str, module.exports or ()))
    if undefined := public - set(module.members):
        raise SystemExit(
            f"{module.path}: __all__ names what is not there: {sorted(undefined)}"
        )
    members = [module.members[name] for name in module.members if name in public]
    return Module(
        name=module.path.partition(".")[2],
        about=GUIDE.sub("", about).strip(),
        guide=guide[1] if guide else "",
        own=tuple(m.name for m in members if not m.is_alias),
        re_exported=tuple((m.name, m.target_path) for m in members if m.is_alias),
    )


def of_room(room: str) -> list[str]:
    """The modules of a room, itself first, without those of a room inside it."""
    inner = {name for name, _ in ROOMS if name.startswith(f"{room}.")}
    return [
        name
        for name in modules()
        if name == room or (name.rpartition(".")[0] == room and name not in inner)
    ]


def slug(room: str) -> str:
    """A room's page, without folder and ending: its last word."""
    return room.rpartition(".")[2]


def public_names() -> list[str]:
    """Every public name of the library, as it can be imported."""
    return [
        f"distrinews.{module.name}.{name}"
        for module in modules().values()
        for name in (*module.own, *(name for name, _ in module.re_exported))
    ]


def pages() -> dict[pathlib.Path, str]:
    """The pages of the library.

    Returns:
        Text by path.

    Raises:
        SystemExit: A module belongs to no room in `ROOMS`.
    """
    covered = {name for room, _ in ROOMS for name in of_room(room)}
    if missing := sorted(set(modules()) - covered):
        raise SystemExit(f"ROOMS in {__file__} lacks the rooms of {missing}")
    return {
        FOLDER / f"{slug(room)}.md": _page(title, of_room(room))
        for room, title in ROOMS
    }


def _page(title: str, names: list[str]) -> str:
    # The search shows a page that explains before one that lists names.
    lines = ["---", "search:", "  boost: 0.3", "---", "", f"# {title}", ""]
    if len(names) > 1:
        lines += ["| module | what it is |", "|---|---|"]
        for name in names[1:]:
            first = modules()[name].about.partition("\n")[0]
            lines.append(f"| [`distrinews.{name}`](#distrinews.{name}) | {first} |")
        lines.append("")
    for name in names:
        lines += [*_section(modules()[name]), ""]
    return "\n".join(lines)


def _section(module: Module) -> list[str]:
    path = f"distrinews.{module.name}"
    lines = [f"## `{path}` {{ #{path} }}", "", _linked(module.about, within=path)]
    if module.guide:
        lines += ["", f"Guide: {guide_link(module.guide)}."]
    if module.re_exported:
        links = ", ".join(
            f'<a id="{path}.{name}"></a>[`{name}`][{origin}]'
            for name, origin in module.re_exported
        )
        lines += [
            "",
            f"Import these from here; a module below holds their code: {links}.",
        ]
    for name in module.own:
        lines += ["", f"::: {path}.{name}"]
    return lines


def guide_link(guide: str) -> str:
    """A module's guide as a link from a page of the library.

    Args:
        guide: A page's address, with or without an anchor.

    Returns:
        A Markdown link. Its text is the address: a title may change.

    Raises:
        SystemExit: There is no such page.
    """
    address, hash_mark, anchor = guide.partition("#")
    path = SITE / f"{address.strip('/')}.md"
    if not path.is_file():
        raise SystemExit(
            f"a module's header names Guide: {guide}, and no page does so."
        )
    target = path.relative_to(SITE).as_posix()
    return f"[{address.strip('/')}](../../{target}{hash_mark}{anchor})"


def _linked(text: str, *, within: str) -> str:
    """Names of our own in a header's text as links."""

    def link(match: re.Match[str]) -> str:
        shown = match[1]
        full = f"distrinews{shown}" if shown.startswith(".") else shown
        path = full.removeprefix("distrinews.")
        if full == within:
            return match[0]
        if path in modules():
            return f"[`{shown}`][{full}]"
        module, _, name = path.rpartition(".")
        source = modules().get(module)
        if source and name in {
            *source.own,
            *(alias for alias, _ in source.re_exported),
        }:
            return f"[`{shown}`][{full}]"
        return match[0]

    return NAME.sub(link, text)
