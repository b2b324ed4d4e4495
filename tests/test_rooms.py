"""Proofs for the layout: an import that goes up is refused, the picture is drawn.

That ours go down is what `lint-imports` says, and `python -m tests.lint layout` checks
files, names and what git sees.
"""

from __future__ import annotations

import pathlib
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


FAULTS = {
    "dist/process_group.py": "from distrinews.training import runs",
    "sharding/sampler.py": "def late():\n    from distrinews import sync",
    "inference/engines.py": "import distrinews.dist.collectives",
    "bench/timing.py": "from distrinews.bench import results",
}


def add(project: pathlib.Path, file: str, line: str) -> None:
    path = project / "distrinews" / file
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as opened:
        opened.write(f"\n{line}\n")


def test_imports_upwards_sideways_or_forbidden_are_refused(
    project: pathlib.Path,
) -> None:
    """Negative control, for each contract; one run finds all of them."""
    for file, line in FAULTS.items():
        add(project, file, line)
    done = lint(project)
    assert done.returncode != 0
    for file in FAULTS:
        dotted = file.removesuffix(".py").replace("/", ".")
        assert f"distrinews.{dotted}" in done.stdout, file


def test_a_room_without_a_floor_is_refused(project: pathlib.Path) -> None:
    add(project, "attic/__init__.py", "")
    done = lint(project)
    assert done.returncode != 0
    assert "distrinews.attic" in done.stdout


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
