"""The pages of the library: every public name of every module, by topic.

A page holds, for each of its modules, the header's text with its names as links, and
then a line of mkdocstrings (`::: distrinews.sync.average_gradients`) for each public
name, in the order of the file.

WHY one line a name and not one a module: `__all__` decides what is public, so nothing
can be missing; and a name that a module only passes on becomes a link to where it is
written, not a second copy.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import pathlib
import re

__all__ = ["FOLDER", "GROUPS", "Module", "modules", "pages", "public_names"]

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "distrinews"
SITE = ROOT / "site_docs"
FOLDER = SITE / "reference" / "api"
GUIDE = re.compile(r"\n*^Guide: (\S+?)\.?$", re.MULTILINE)
NAME = re.compile(r"`(distrinews\.[\w.]+|\.\w+)`")

# A module's page, in the order of the navigation: file name, title, what it is about,
# modules. A new module needs its place here.
GROUPS = (
    (
        "ranks",
        "Ranks and processes",
        "Start ranks, join and leave the process group, agree on an error, leave no "
        "process behind.",
        "dist group agreement processes blame whereabouts signals",
    ),
    (
        "sharding",
        "Who reads which row",
        "Shards, batches, balanced lengths, and where an epoch was left.",
        "sharding position balance gain",
    ),
    (
        "gradients",
        "Averaging gradients",
        "From one all-reduce per parameter to buckets that overlap backward, and three "
        "wrong ways.",
        "sync overlap ring replicas wrong_sync ladder",
    ),
    (
        "faster",
        "Faster on one machine",
        "Averaging through shared memory, touched embedding rows only, a last layer "
        "without what nobody reads.",
        "touched_rows shared_memory shared_tensors averaging first_token",
    ),
    (
        "training",
        "Training and evaluation",
        "What the loops of the chapters are made of, and figures over all ranks.",
        "training pace news report lessons metrics evaluation",
    ),
    (
        "runs",
        "Runs and checkpoints",
        "A folder a run, atomic checkpoints without pickle, a resume to the bit.",
        "runs runlog logs resuming checkpoint manifest files",
    ),
    (
        "data",
        "Data",
        "Generated news, AG News, your own files; cleaned, tokenised once, mapped by "
        "every rank.",
        "sources file_sources tables parquet cleaning labels hub newswire data "
        "large_pages token_table",
    ),
    (
        "model",
        "Models and exports",
        "Three presets, and a folder that plain transformers opens.",
        "model minilm export exported",
    ),
    (
        "inference",
        "Inference",
        "Answers from torch or ONNX, and the golden rows that decide which engine may "
        "answer.",
        "inference engines onnx_export onnx_graph golden parity",
    ),
    (
        "serving",
        "Serving",
        "Requests that share the model's time, a queue with an end, a Space without "
        "Docker.",
        "batching admission space space_files",
    ),
    (
        "benchmark",
        "Measuring",
        "Times that can be believed, and files that name their machine.",
        "benchmark scaling_run scaling plots results preflight machine datapath "
        "row_times memory_watch",
    ),
    (
        "cost-model",
        "The cost model",
        "A model of a step, fitted on your machine, and what it predicts for others.",
        "costmodel fitting calibration stations stopwatch sizes predictions published "
        "many_ranks forecast",
    ),
    (
        "timeline",
        "The timeline",
        "What every rank did when, and what recording it costs.",
        "trace timeline lanes recorded",
    ),
    (
        "peers",
        "Other libraries",
        "The same rows with Trainer, accelerate, Fabric, plain DDP and ours, in turn.",
        "peers peer_job peer_loops peer_report",
    ),
    (
        "labs",
        "Labs and exercises",
        "Failures played by real processes, the detectors that see them, and tasks "
        "that real processes grade.",
        "labs lab_player lab_rows lab_sheets lab_desk exercises exercise_sheets "
        "exercise_desk exercise_values tensor_watch",
    ),
    (
        "interview",
        "The interview",
        "Cards to answer aloud, whose numbers are computed.",
        "interview interview_cards interview_anki interview_numbers failure_rate",
    ),
    (
        "doctor",
        "The doctor",
        "What is wrong with this machine, and whose traceback this is.",
        "doctor doctor_checks doctor_findings doctor_probe matching troubles",
    ),
    (
        "commands",
        "Settings and commands",
        "Settings from which the command line derives, and what the commands do.",
        "settings command_settings flags command_line command_practice commands "
        "measurements docs console errors",
    ),
)
# No public name: the package itself, and the few lines behind `python -m distrinews`.
WITHOUT_PAGE = {"__init__", "__main__"}


@dataclasses.dataclass(frozen=True)
class Module:
    """A module of the library, as its page shows it."""

    name: str
    about: str  # the header's docstring, without its guide
    guide: str  # "understand/gradient-sync", or nothing
    own: tuple[str, ...]  # public names written here, in the order of the file
    passed_on: tuple[tuple[str, str], ...]  # (public name, where it is written)


@functools.cache
def modules() -> dict[str, Module]:
    """Every module that has public names.

    Returns:
        By name, in alphabetical order.
    """
    return {
        path.stem: _read(path)
        for path in sorted(LIBRARY.glob("*.py"))
        if path.stem not in WITHOUT_PAGE
    }


def public_names() -> list[str]:
    """Every public name of the library.

    Returns:
        As dotted paths where they can be imported from.
    """
    return [
        f"distrinews.{module.name}.{name}"
        for module in modules().values()
        for name in (*module.own, *(name for name, _ in module.passed_on))
    ]


def _read(path: pathlib.Path) -> Module:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    about = ast.get_docstring(tree) or ""
    guide = GUIDE.search(about)
    order: dict[str, str] = {}  # name -> where it is written ("" here)
    public: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [one for target in targets for one in ast.walk(target)]
            assigned = [one.id for one in names if isinstance(one, ast.Name)]
            if assigned == ["__all__"] and node.value is not None:
                public = set(ast.literal_eval(node.value))
            order |= dict.fromkeys(assigned, "")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            order[node.name] = ""
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                order[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    lost = public - set(order)
    if lost:
        raise SystemExit(f"{path}: __all__ names what is not there: {sorted(lost)}")
    return Module(
        name=path.stem,
        about=GUIDE.sub("", about).strip(),
        guide=guide[1] if guide else "",
        own=tuple(
            name for name, where in order.items() if name in public and not where
        ),
        passed_on=tuple(
            (n, where) for n, where in order.items() if n in public and where
        ),
    )


def pages() -> dict[pathlib.Path, str]:
    """The pages of the library.

    Returns:
        Text by path.

    Raises:
        SystemExit: A module has no place in `GROUPS`, or two.
    """
    placed = [name for *_, names in GROUPS for name in names.split()]
    if sorted(placed) != sorted(modules()):
        lost = sorted(set(modules()) ^ set(placed))
        raise SystemExit(f"GROUPS in {__file__} and distrinews/ differ: {lost}")
    return {
        FOLDER / f"{slug}.md": _page(title, about, names.split())
        for slug, title, about, names in GROUPS
    }


def _page(title: str, about: str, names: list[str]) -> str:
    lines = [f"# {title}", "", about, "", "| module | what it is |", "|---|---|"]
    for name in names:
        first = modules()[name].about.partition("\n")[0]
        lines.append(f"| [`distrinews.{name}`](#distrinews.{name}) | {first} |")
    for name in names:
        lines += ["", *_section(modules()[name])]
    return "\n".join(lines) + "\n"


def _section(module: Module) -> list[str]:
    path = f"distrinews.{module.name}"
    lines = [f"## `{path}` {{ #{path} }}", "", _linked(module.about, within=path)]
    if module.guide:
        lines += ["", f"Guide: {guide_link(module.guide)}."]
    if module.passed_on:
        also = ", ".join(
            f'<a id="{path}.{name}"></a>[`{name}`][{where}]'
            for name, where in module.passed_on
        )
        lines += ["", f"Offered here, written elsewhere: {also}."]
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
    where, mark, anchor = guide.partition("#")
    path = SITE / f"{where.strip('/')}.md"
    if not path.is_file():
        raise SystemExit(
            f"a module's header names Guide: {guide}, and no page does so."
        )
    return (
        f"[{where.strip('/')}](../../{path.relative_to(SITE).as_posix()}{mark}{anchor})"
    )


def _linked(text: str, *, within: str) -> str:
    """Names of our own in a header's text as links; shorthands like `.group`, too."""

    def link(match: re.Match[str]) -> str:
        said = match[1]
        full = f"distrinews{said}" if said.startswith(".") else said
        module, _, name = full.removeprefix("distrinews.").partition(".")
        known = modules().get(module)
        if known is None or full == within:
            return match[0]
        if name and name not in {*known.own, *(one for one, _ in known.passed_on)}:
            return match[0]
        return f"[`{said}`][{full}]"

    return NAME.sub(link, text)
