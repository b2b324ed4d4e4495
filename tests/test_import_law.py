"""Proof of the import law: inside this repository arrows only go down.

A module may import what its line in TABLE names, and nothing else of ours. Chapters
import any module, never each other. Nobody imports tests, chapters or apps.
"""

from __future__ import annotations

import ast
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
ANYTHING = "*"
TABLE = {
    "__init__": "",
    "__main__": ANYTHING,
    "command_line": ANYTHING,
    "command_practice": "exercise_desk interview interview_cards lab_desk",
    "commands": ANYTHING,
    "measurements": ANYTHING,
    # On their own.
    "errors": "",
    "labels": "",
    "cleaning": "",
    "machine": "",
    "signals": "",
    "console": "errors",
    "files": "errors",
    "hub": "errors",
    "command_settings": "",
    "settings": "command_settings",
    "flags": "errors settings",
    "docs": "command_settings errors flags",
    "lessons": "command_settings dist errors files machine",
    # Ranks.
    "whereabouts": "",
    "blame": "errors",
    "processes": "blame console errors signals whereabouts",
    "agreement": "errors",
    "group": "errors processes",
    "dist": "agreement errors group machine processes",
    # What ranks share out and add up.
    "position": "errors",
    "balance": "dist errors position",
    "sharding": "balance dist position",
    "metrics": "errors dist labels",
    "overlap": "dist errors",
    "replicas": "dist errors",
    "ring": "dist",
    "sync": "dist errors overlap replicas ring",
    "touched_rows": "dist errors",
    "shared_tensors": "dist errors group",
    "shared_memory": "dist errors shared_tensors touched_rows",
    "wrong_sync": "dist",
    # The catalogue and the doctor. They must work where torch does not.
    "troubles": "",
    "matching": "errors troubles",
    "doctor_findings": "matching",
    "doctor_checks": "doctor_findings",
    "doctor": "doctor_checks doctor_findings",
    "doctor_probe": "dist",
    "benchmark": "dist",
    "costmodel": "",
    "fitting": "costmodel",
    "published": "",
    "predictions": "calibration costmodel published sizes",
    "many_ranks": "benchmark predictions published",
    "forecast": "benchmark command_settings many_ranks plots predictions published "
    "results",
    "sizes": "",
    "calibration": "benchmark costmodel fitting sizes",
    "stations": "calibration command_settings",
    "stopwatch": "benchmark calibration dist group machine results settings sizes "
    "stations sync training",
    "trace": "dist whereabouts",
    "timeline": "errors",
    "lanes": "files timeline",
    "recorded": "benchmark dist errors files lanes model news results scaling_run "
    "settings timeline trace training",
    "preflight": "benchmark errors files machine news results settings",
    "results": "dist errors files machine settings",
    "plots": "benchmark files",
    "averaging": "benchmark dist model news results settings shared_memory sync "
    "touched_rows training",
    "scaling": "benchmark predictions",
    "scaling_run": "benchmark dist errors machine news settings sharding sync training",
    "gain": "benchmark dist model news pace results settings shared_memory sharding "
    "touched_rows training",
    "ladder": "dist model news settings sync training",
    "manifest": "errors files",
    "checkpoint": "dist errors files manifest",
    # Rows.
    "newswire": "errors labels",
    "tables": "cleaning errors labels",
    "parquet": "errors labels tables",
    "file_sources": "cleaning errors hub labels parquet tables",
    "sources": "errors file_sources newswire tables",
    "large_pages": "",
    "token_table": "",
    "data": "errors dist files large_pages machine sources token_table",
    # Failures to learn from.
    "lab_player": "signals",
    "lab_rows": "dist",
    "labs": "console dist errors lab_player lab_rows signals",
    "lab_sheets": "errors",
    "lab_desk": "errors lab_player lab_sheets",
    "tensor_watch": "",
    "exercise_values": "timeline",
    "exercises": "dist errors exercise_values timeline trace",
    "exercise_sheets": "errors lab_sheets",
    "exercise_desk": "errors exercise_sheets exercises files lab_desk lab_player lanes "
    "timeline",
    # The interview. Everything but its numbers works without torch.
    "interview_cards": "files",
    "interview_anki": "files interview_cards",
    "interview": "errors files interview_anki interview_cards",
    "failure_rate": "",
    "interview_numbers": "calibration costmodel failure_rate files metrics predictions "
    "published settings sizes training",
    # The model.
    "minilm": "errors",
    "model": "hub labels minilm settings",
    "first_token": "errors",
    # Serving. Never dist, data, model: it needs neither ranks nor, with ONNX, torch.
    "exported": "errors files manifest",
    "golden": "errors exported files newswire",
    "onnx_graph": "",
    "onnx_export": "errors exported files machine manifest onnx_graph",
    "engines": "errors exported machine onnx_export",
    "inference": "engines errors exported golden machine",
    "parity": "engines exported golden inference onnx_export sources",
    "export": "checkpoint engines errors exported files golden inference model "
    "onnx_export parity",
    "space_files": "errors",
    "space": "errors exported files hub manifest space_files",
    "admission": "",
    "batching": "admission",  # and no torch
    # A run. Training knows no data and no model: they are passed in.
    "evaluation": "data dist errors metrics sharding",
    "training": "dist settings sharding",
    "pace": "dist machine",
    "resuming": "errors files settings",
    "logs": "dist",
    "runlog": "dist files logs",
    "runs": "checkpoint dist errors files machine metrics resuming runlog settings "
    "training",
    "news": "data dist errors files model settings sharding sources",
    "memory_watch": "",
    "row_times": "data dist news settings training",
    "datapath": "benchmark data dist files memory_watch news results row_times "
    "settings training",
    "peer_job": "dist news settings",
    "peer_loops": "evaluation first_token peer_job shared_memory touched_rows training",
    "peer_report": "benchmark",
    "peers": "dist errors evaluation model news peer_job peer_loops peer_report "
    "results settings sync training",
    "report": "dist evaluation export files inference labels machine metrics model "
    "news runs",
}
NEVER_IMPORTED = {"tests", "helpers", "chapters", "apps", "conftest"}


def imported_by(source: str) -> set[str]:
    """Every module that a file imports, anywhere in it, as a dotted name.

    `from a import b` counts as `a.b`: b may be a module. A relative import keeps its
    dots, so that it is never mistaken for an absolute one.
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def ours(source: str) -> set[str]:
    """The modules of distrinews that a file imports, by their short names."""
    found = set()
    for name in imported_by(source):
        top, _, rest = name.partition(".")
        if top == "":
            found.add(f"relative import {name}")
        elif top == "distrinews":
            found.add(rest.partition(".")[0] or "__init__")
    return found


def breaches(module: str, source: str) -> set[str]:
    """What a module of distrinews imports against the law."""
    if TABLE[module] == ANYTHING:
        return set()
    # The package itself holds no code but its version: everybody may read that.
    allowed = {*TABLE[module].split(), "__init__", "__version__"}
    return ours(source) - allowed


def library() -> list[pathlib.Path]:
    return sorted((ROOT / "distrinews").glob("*.py"))


def files_in(folder: str) -> list[pathlib.Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def test_every_module_is_in_the_table_and_something_is_checked() -> None:
    found = {path.stem for path in library()}
    assert found - set(TABLE) == set(), "add these modules to TABLE"
    assert len(found) >= 10
    arrows = sum(len(ours(path.read_text(encoding="utf-8"))) for path in library())
    assert arrows >= 10, "hardly an import was seen: the proof looks at nothing"
    # A package inside the package would escape the search above.
    assert list((ROOT / "distrinews").glob("*/*.py")) == []


def test_the_table_only_points_down() -> None:
    seen: set[str] = set()
    waiting = {m: set(line.split()) for m, line in TABLE.items() if line != ANYTHING}
    while waiting:
        free = {m for m, needs in waiting.items() if needs <= seen}
        assert free, f"these import each other in a circle: {sorted(waiting)}"
        seen |= free
        waiting = {m: needs for m, needs in waiting.items() if m not in free}


@pytest.mark.parametrize("path", library(), ids=lambda path: path.stem)
def test_a_module_imports_only_what_the_law_allows(path: pathlib.Path) -> None:
    if path.stem not in TABLE:
        pytest.fail(f"{path.stem} is not in TABLE")
    assert breaches(path.stem, path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "line",
    [
        "import distrinews.training",
        "import distrinews.training as loop",
        "from distrinews import training",
        "from distrinews import dist, training as loop",
        "from distrinews.training import fit",
        "def late():\n    from distrinews.training import fit",
        "if TYPE_CHECKING:\n    import distrinews.training",
    ],
)
def test_a_forbidden_import_is_seen_in_every_spelling(line: str) -> None:
    """Negative control."""
    assert breaches("sharding", line) == {"training"}
    assert breaches("__main__", line) == set()


def test_a_relative_import_is_refused_and_a_namesake_is_not() -> None:
    assert breaches("sharding", "from . import training")
    assert breaches("sharding", "from .training import fit")
    assert breaches("sharding", "import distrinewsish.training") == set()
    assert breaches("sharding", "from distrinews import __version__, dist") == set()


def below(top: str, source: str) -> bool:
    """Whether a file imports a folder that nobody may import."""
    return any(name.partition(".")[0] == top for name in imported_by(source))


@pytest.mark.parametrize("folder", ["distrinews", "chapters", "apps"])
def test_nobody_imports_tests_chapters_or_apps(folder: str) -> None:
    for path in files_in(folder):
        source = path.read_text(encoding="utf-8")
        # An app may consist of several files that know each other.
        forbidden = NEVER_IMPORTED - ({"apps"} if folder == "apps" else set())
        for top in forbidden:
            assert not below(top, source), f"{path} imports {top}"


def test_an_import_of_tests_would_be_seen() -> None:
    """Negative control."""
    assert below("tests", "from tests.helpers import running")
    assert below("chapters", "import chapters")
    assert not below("tests", "import testscenarios")


def test_no_chapter_imports_another_chapter_or_file_beside_it() -> None:
    paths = files_in("chapters")
    names = {path.stem for path in paths} | {path.parent.name for path in paths}
    for path in paths:
        for name in imported_by(path.read_text(encoding="utf-8")):
            top = name.partition(".")[0]
            assert top not in names, f"{path} imports {top}, a neighbour"
            assert not name.startswith("."), f"{path} has a relative import"


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
    library_files = (ROOT / "distrinews").iterdir()
    on_disk = [p.relative_to(ROOT).as_posix() for p in library_files if p.is_file()]
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
    assert ignored(["runs/today/log.jsonl", "distrinews/dist/launcher.py"]) == [
        "runs/today/log.jsonl"
    ]
