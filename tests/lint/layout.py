"""The layout: few files and rooms, one address for a name, what git and ruff see."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping

from . import ROOT, Finding, at, expect, words

LIBRARY = ROOT / "distrinews"


def check_the_library_is_a_few_files_and_rooms() -> Iterator[Finding]:
    files = list(LIBRARY.glob("*.py"))
    rooms = [path for path in LIBRARY.iterdir() if (path / "__init__.py").is_file()]
    loose = [path for path in LIBRARY.rglob("*.py") if path.parent != LIBRARY]
    yield from expect(
        LIBRARY / "__init__.py",
        (
            (len(files) <= 6, f"{len(files)} files beside the rooms, more than 6"),
            # Each room is a folder or one of those files; the package's is none.
            (len(rooms) + len(files) - 1 <= 18, "more than 18 rooms"),
            (len(loose) >= 60, "few files were found"),
        ),
    )
    for path in loose:
        if not (path.parent / "__init__.py").is_file():
            yield at(path, "it is in no package")


def check_ruff_and_pytest_look_into_every_room() -> Iterator[Finding]:
    """Both leave out folders called dist, unless they are told otherwise."""
    command = (sys.executable, "-m", "ruff", "check", "--show-files", "distrinews")
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    seen = set(done.stdout.splitlines())
    settings = tomllib.loads(words(ROOT / "pyproject.toml"))
    skipped = settings["tool"]["pytest"]["ini_options"]["norecursedirs"]
    for path in LIBRARY.rglob("*.py"):
        if str(path) not in seen:
            yield at(path, "ruff does not look at it")
        if any(path.parent.match(glob) for glob in skipped):
            yield at(path, "pytest does not look at it")


def circles(sources: Mapping[str, str]) -> set[str]:
    """The files of an app that stand in a circle of imports, also late ones."""
    imports = {}
    for name, text in sources.items():
        nodes = list(ast.walk(ast.parse(text)))
        used = {
            a.name for node in nodes if isinstance(node, ast.Import) for a in node.names
        }
        used |= {
            node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)
        }
        imports[name] = used & set(sources)
    left = dict(imports)
    while free := {name for name, used in left.items() if not used & set(left)}:
        left = {name: used for name, used in left.items() if name not in free}
    return set(left)


def check_the_files_of_the_app_import_each_other_without_a_circle() -> Iterator[
    Finding
]:
    paths = {path.stem: path for path in (ROOT / "apps").glob("*.py")}
    for name in circles({name: words(path) for name, path in paths.items()}):
        yield at(paths[name], "it stands in a circle of imports")


# --- What git sees --------------------------------------------------------------


def ignored(paths: list[str]) -> list[str]:
    """Those of the paths that .gitignore would keep out, tracked or not."""
    done = subprocess.run(
        ("git", "check-ignore", "--no-index", "--stdin", "-z"),
        input="\0".join(paths).encode(),
        capture_output=True,
        cwd=ROOT,
        check=False,
        timeout=30,
    )
    assert done.returncode in (0, 1), done.stderr.decode()
    return [path for path in done.stdout.decode().split("\0") if path]


def check_gitignore_swallows_no_file_of_this_project() -> Iterator[Finding]:
    if not shutil.which("git") or not (ROOT / ".git").exists():
        return
    # WHY the files on disk and not `git ls-files`: a file that was ignored from its
    # birth was never tracked, and would be missing there.
    on_disk = [
        path.relative_to(ROOT).as_posix()
        for path in LIBRARY.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    listing = ("git", "ls-files", "-z")
    tracked = subprocess.run(
        listing, capture_output=True, cwd=ROOT, check=True, timeout=30
    )
    paths = {*on_disk, *tracked.stdout.decode().split("\0")} - {""}
    for name in ignored(sorted(paths)):
        yield Finding(name, 1, "git ignores it")


# --- One address for a name -------------------------------------------------------

BLOCKS = ("dist", "sharding", "sync", "checkpoint", "metrics", "training")
SHOWN = (
    *("README.md", "site_docs/**/*.md", "site_docs/learn/*.toml", "chapters/**/*.py"),
    *("distrinews/course/*.toml", "distrinews/doctor/troubles.json", "apps/**/*.py"),
)


@functools.cache
def other_addresses() -> dict[str, str]:
    """`replicas.assert_replicas_equal` -> `sync.assert_replicas_equal`, and so on."""
    found = {}
    for block in BLOCKS:
        module = importlib.import_module(f"distrinews.{block}")
        for name in module.__all__:
            home = getattr(getattr(module, name), "__module__", "")
            if home.startswith(f"distrinews.{block}."):
                found[f"{home.rpartition('.')[2]}.{name}"] = f"{block}.{name}"
    return found


@functools.cache
def any_other_address() -> re.Pattern[str]:
    """One pattern for all of them: three hundred files are searched."""
    names = "|".join(map(re.escape, sorted(other_addresses(), key=len, reverse=True)))
    return re.compile(rf"(?<![\w.])({names})\b")


def second_addresses(text: str) -> Iterator[tuple[int, str]]:
    """Names that a text takes from the module that holds them, not from the room."""
    for match in any_other_address().finditer(text):
        line = text[: match.start()].count("\n") + 1
        yield line, f"{match[1]}: say {other_addresses()[match[1]]}"


def check_a_name_is_called_by_its_rooms_name_everywhere() -> Iterator[Finding]:
    paths = [
        path
        for pattern in SHOWN
        for path in ROOT.glob(pattern)
        if "reference/api" not in path.as_posix()
    ]
    known = "replicas.assert_replicas_equal" in other_addresses()
    yield from expect(
        ROOT / "README.md",
        ((len(paths) > 100, "few files were found"), (known, "no names were found")),
    )
    for path in paths:
        for line, what in second_addresses(words(path)):
            yield Finding(path.relative_to(ROOT).as_posix(), line, what)


# --- Nothing falls between the tiers ----------------------------------------------


def never_run(files: Mapping[str, str], commands: Iterable[Iterable[str]]) -> set[str]:
    """Files with endurance tests that nobody runs, and files run that have none."""
    mark = re.compile(r"mark\.(endurance|labs)\b")
    marked = {name for name, text in files.items() if mark.search(text)}
    return marked ^ {
        word for command in commands for word in command if word.endswith(".py")
    }


def check_endurance_runs_every_test_that_is_marked_so() -> Iterator[Finding]:
    proofs = runpy.run_path(str(ROOT / ".ci" / "endurance"))["PROOFS"]
    files = {
        path.relative_to(ROOT).as_posix(): words(path)
        for path in (ROOT / "tests").glob("test_*.py")
    }
    for name in never_run(files, proofs.values()):
        yield Finding(name, 1, "marked for .ci/endurance or run there, and not both")
