"""Proofs for the layout: rooms whose imports only go down, and what git sees."""

from __future__ import annotations

import ast
import importlib
import pathlib
import re
import shutil
import subprocess
import sys

import networkx
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "distrinews"
LINT = "import sys; from importlinter.cli import lint_imports_command as c; c()"


def lint(folder: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter as `lint-imports` does, on a copy of the project."""
    return subprocess.run(
        (sys.executable, "-c", LINT, "--no-cache", "--no-logo"),
        capture_output=True,
        text=True,
        cwd=folder,
        # WHY not `-m`: the current folder must come before an installed distrinews.
        env={"PYTHONPATH": str(folder), "PATH": "", "PYTHONUTF8": "1"},
        timeout=120,
        check=False,
    )


@pytest.fixture
def project(tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the library and its import law."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(LIBRARY, tmp_path / "distrinews", ignore=ignored)
    shutil.copyfile(ROOT / "pyproject.toml", tmp_path / "pyproject.toml")
    return tmp_path


def test_imports_go_down_only(project: pathlib.Path) -> None:
    done = lint(project)
    assert "4 kept, 0 broken" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("file", "line", "arrow"),
    [
        (
            "dist/process_group.py",
            "from distrinews.training import runs",
            "dist.process_group",
        ),
        (
            "sharding/sampler.py",
            "def late():\n    from distrinews import sync",
            "sharding.sampler",
        ),
        (
            "inference/engines.py",
            "import distrinews.dist.collectives",
            "inference.engines",
        ),
        ("attic/__init__.py", "", "attic"),
    ],
)
def test_an_import_upwards_or_a_room_without_a_floor_is_refused(
    project: pathlib.Path, file: str, line: str, arrow: str
) -> None:
    """Negative control, for each contract: upwards, sideways, forbidden, unknown."""
    path = project / "distrinews" / file
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as opened:
        opened.write(f"\n{line}\n")
    done = lint(project)
    assert done.returncode != 0
    assert f"distrinews.{arrow}" in done.stdout


def test_the_library_is_a_few_files_and_rooms() -> None:
    files = list(LIBRARY.glob("*.py"))
    rooms = [path for path in LIBRARY.iterdir() if (path / "__init__.py").is_file()]
    assert len(files) <= 6
    # Each room is a folder or one of those files; the package's own file is none.
    assert len(rooms) + len(files) - 1 <= 18
    loose = [path for path in LIBRARY.rglob("*.py") if path.parent not in {LIBRARY}]
    assert len(loose) >= 80  # the guard: something was looked at
    for path in loose:
        assert (path.parent / "__init__.py").is_file(), f"{path} is in no package"


def test_ruff_and_pytest_look_into_every_room(pytestconfig: pytest.Config) -> None:
    """Both leave out folders called dist, unless they are told otherwise."""

    def seen(*options: str) -> set[pathlib.Path]:
        done = subprocess.run(
            (
                sys.executable,
                "-m",
                "ruff",
                "check",
                "--show-files",
                *options,
                "distrinews",
            ),
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
            timeout=60,
        )
        return {pathlib.Path(line) for line in done.stdout.splitlines()}

    files = set(LIBRARY.rglob("*.py"))
    assert seen() >= files
    assert files - seen("--isolated") == set((LIBRARY / "dist").rglob("*.py"))
    skipped = pytestconfig.getini("norecursedirs")
    assert not [p for p in files if any(p.parent.match(glob) for glob in skipped)]


def test_the_picture_of_the_rooms_is_drawn_from_the_imports_and_points_down() -> None:
    import room_pages

    layers = room_pages.layers()
    layer_of = {room: number for number, row in enumerate(layers) for room in row}
    arrows = room_pages.imports()
    assert set(arrows) == set(layer_of)
    assert sum(map(len, arrows.values())) >= 40  # the guard: imports were seen
    for room, lowers in arrows.items():
        assert all(layer_of[lower] > layer_of[room] for lower in lowers), room
    drawn = room_pages.PICTURE.read_text(encoding="utf-8")
    assert drawn == room_pages.picture(), "python site_docs/_tools/make_pages.py"
    # What a chain of other arrows implies is left out.
    graph = networkx.DiGraph(arrows)
    lines = [
        lower
        for room, lowers in arrows.items()
        for lower in lowers
        if not any(networkx.has_path(graph, m, lower) for m in lowers - {lower})
    ]
    assert drawn.count('class="room-import"') == len(lines)


def circles(sources: dict[str, str]) -> set[str]:
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


def test_the_files_of_the_app_import_each_other_without_a_circle() -> None:
    paths = list((ROOT / "apps").glob("*.py"))
    sources = {path.stem: path.read_text(encoding="utf-8") for path in paths}
    assert len(sources) >= 10
    assert circles(sources) == set()


def test_a_circle_would_be_seen_also_through_a_late_import() -> None:
    """Negative control."""
    late = "def run():\n    import api"
    assert circles({"api": "from contract import x", "contract": late}) == {
        "api",
        "contract",
    }


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


needs_git = pytest.mark.skipif(
    not (shutil.which("git") and (ROOT / ".git").exists()), reason="not a git checkout"
)


@needs_git
def test_gitignore_swallows_no_file_of_this_project() -> None:
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
    assert len(paths) >= 20
    assert ignored(sorted(paths)) == []


@needs_git
def test_an_ignored_path_would_be_noticed() -> None:
    """Negative control."""
    assert ignored(["runs/today/log.jsonl", "distrinews/dist/process_group.py"]) == [
        "runs/today/log.jsonl"
    ]


# --- One address for a name -------------------------------------------------------

BLOCKS = ("dist", "sharding", "sync", "checkpoint", "metrics", "training")
SHOWN = (
    *("README.md", "site_docs/**/*.md", "site_docs/learn/*.toml", "chapters/**/*.py"),
    *("distrinews/course/*.toml", "distrinews/doctor/troubles.json", "apps/**/*.py"),
)


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


def second_addresses(text: str) -> list[str]:
    """Names that a text takes from the module that holds them, not from the room."""
    return [
        f"{other}: say {one}"
        for other, one in other_addresses().items()
        if re.search(rf"(?<![\w.]){re.escape(other)}\b", text)
    ]


def test_a_name_that_a_room_offers_is_called_by_the_rooms_name_everywhere() -> None:
    assert other_addresses()["replicas.assert_replicas_equal"] == (
        "sync.assert_replicas_equal"
    )
    paths = [path for pattern in SHOWN for path in ROOT.glob(pattern)]
    assert len(paths) > 100
    faults = {
        f"{path.relative_to(ROOT)}: {fault}"
        for path in paths
        if "reference/api" not in path.as_posix()
        for fault in second_addresses(path.read_text(encoding="utf-8"))
    }
    assert faults == set()


def test_a_second_address_is_found() -> None:
    """Negative control."""
    text = "Compare them: `replicas.assert_replicas_equal(net)`."
    assert second_addresses(text) == [
        "replicas.assert_replicas_equal: say sync.assert_replicas_equal"
    ]
    assert second_addresses("`sync.assert_replicas_equal(net)`") == []
