"""Whether a command on a page is one that exists: parsed by the real command line."""

from __future__ import annotations

import contextlib
import functools
import io
import pathlib
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence

from distrinews.cli import parser
from distrinews.config.flags import parse
from distrinews.errors import DistriNewsError

__all__ = ["ALLOWED", "commands", "problem"]

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Other programs that a page may call. Nobody checks their arguments: look at them.
ALLOWED = {
    *("cd", "cp", "curl", "export", "git", "hf", "kaggle", "kill", "mkdir", "rm"),
    *("source", "unset", "deactivate", ".", "nvidia-smi", "lscpu", "nproc", "wrk"),
    *("Invoke-RestMethod", "Set-ExecutionPolicy", "New-Item", "Copy-Item"),
    "Get-Content",
    *("zensical", "head", "sort", "cat", "ls", "sudo", "brew", "winget", "py", "zip"),
}
PYTHON = re.compile(
    r"(?:\.venv[/\\](?:bin|Scripts)[/\\])?(?:python3?(?:\.\d+)?)(?:\.exe)?"
)
VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*=\S*|\$env:\w+=\S*")


def commands(text: str) -> Iterator[str]:
    """The commands of a code block, continued lines joined, comments left out.

    Args:
        text: The block.

    Yields:
        A command with its arguments.
    """
    joined = re.sub(r"[\\`]\n\s*", " ", text)
    for line in joined.splitlines():
        bare = re.sub(r"(^|\s)#.*$", "", line).strip()
        if bare:
            yield from (part.strip() for part in re.split(r"\s(?:&&|\|)\s", bare))


def problem(command: str) -> str:
    """What is wrong with a command.

    Args:
        command: As it stands on the page.

    Returns:
        A sentence; empty if the command exists with these arguments.
    """
    # WHY not posix: a Windows path keeps its backslashes.
    words = [word.strip("\"'") for word in shlex.split(command, posix=False)]
    while words and VARIABLE.fullmatch(words[0]):
        words = words[1:]
    if not words or (words[0].startswith("$") and words[1:2] == ["="]):
        return ""  # a variable of a shell
    if PYTHON.fullmatch(words[0]):
        return _python(words[1:])
    if words[0] == "torchrun":
        return _torchrun(words[1:])
    if words[:2] == ["bash", "chapters/launch.sh"]:
        return _script(words[2:])
    if words[0].endswith("pip") or words[0] == "pip":
        return _pip(words[1:])
    if words[0] == "distrinews":
        return _distrinews(words[1:])
    if words[0] in ALLOWED or words[0].startswith(".venv"):
        return ""
    return f"{words[0]} is no program that a page may call (see ALLOWED)"


def _python(words: Sequence[str]) -> str:
    if words[:1] == ["-m"]:
        module, rest = words[1], list(words[2:])
        if module == "distrinews":
            return _distrinews(rest)
        if module == "pip":
            return _pip(rest)
        if module == "pytest":
            paths = [w for w in rest if w.startswith("tests/")]
            lost = [p for p in paths if not (ROOT / p.split("::")[0]).is_file()]
            return f"no such file: {lost}" if lost else ""
        known = {"venv", "http.server", "mkdocs", "ruff", "zensical", "build"}
        return "" if module in known else f"python -m {module} is not known"
    if words and words[0] in {"-c", "--version"}:
        return ""
    return _script(words)


def _torchrun(words: Sequence[str]) -> str:
    known = ("--standalone", "--nproc_per_node=", "--nproc-per-node=", "--nnodes=")
    known += ("--max-restarts=", "--max_restarts=", "--no-python", "--tee=")
    flags = [w for w in words if w.startswith("-")]
    script = next((i for i, w in enumerate(words) if w.endswith(".py")), len(words))
    lost = [w for w in flags if w in words[:script] and not w.startswith(known)]
    return f"torchrun has no {lost}" if lost else _script(words[script:])


def _script(words: Sequence[str]) -> str:
    """A program of ours and its flags."""
    if not words:
        return "no program is named"
    name, rest = words[0].replace("\\", "/"), list(words[1:])
    if not re.search(r"[A-Z]{3}|my_", name) and not (ROOT / name).is_file():
        # A reader's own file may be called train.py.
        return "" if "/" not in name else f"{name} does not exist"
    model = _models().get(name)
    if model is None:
        return ""
    return _silently(lambda: parse(model, about="", arguments=rest))


@functools.cache
def _models() -> dict[str, type]:
    """Programs whose flags are a settings model."""
    from serve_settings import ServeSettings

    from distrinews.config import settings
    from distrinews.course import lessons

    return {
        "apps/api.py": ServeSettings,
        "chapters/01_single_gpu.py": settings.TrainSettings,
        "chapters/02_process_group.py": lessons.LessonSettings,
        "chapters/03_data_sharding.py": lessons.DataSettings,
        "chapters/04_gradient_sync.py": lessons.TimingSettings,
        "chapters/05_ddp_training.py": settings.DistributedSettings,
        "chapters/06_ddp_benchmark.py": settings.BenchmarkSettings,
    }


def _distrinews(words: Sequence[str]) -> str:
    import reference_flags
    from docs_site import DocsSettings

    error = _silently(lambda: parser.parser().parse_args(list(words)))
    if error or len(words) < 2:
        return error
    if words[0] == "docs":
        return _silently(lambda: parse(DocsSettings, about="", arguments=words[1:]))
    if words[0] == "benchmark" and words[1] in reference_flags.MEASUREMENTS:
        model = reference_flags.MEASUREMENTS[words[1]]
        return _silently(lambda: parse(model, about="", arguments=words[2:]))
    if words[0] in {"lab", "exercise"} and len(words) > 2:
        return _named(words[0], words[2])
    return ""


def _named(kind: str, name: str) -> str:
    """Whether there is such a lab or exercise."""
    folder = ROOT / "chapters" / {"lab": "labs", "exercise": "exercises"}[kind]
    exists = list(folder.rglob(f"{name}.py")) or name.isupper() or name.startswith("-")
    return "" if exists else f"there is no {kind} {name}"


def _pip(words: Sequence[str]) -> str:
    """Whether the extras of our own package exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    known = set(project["project"]["optional-dependencies"])
    for word in words:
        extras = re.search(r"^(?:\.|distrinews)\[([^\]]+)\]", word)
        lost = set(extras[1].split(",")) - known if extras else set()
        if lost:
            return f"pyproject.toml has no extra {sorted(lost)}"
    return ""


def _silently(call: Callable[[], object]) -> str:
    """What a parser says against its arguments; nothing if it takes them."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
            call()
    except DistriNewsError as error:
        return error.what
    except SystemExit as exit_:
        return "" if exit_.code in {0, None} else output.getvalue().splitlines()[-1]
    return ""
