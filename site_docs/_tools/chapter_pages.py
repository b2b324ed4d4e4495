"""Draw the chapters' blocks: code, diffs, what is new, captured output.

- `<!-- act chapters/05_ddp_training.py: imports begin 1 -->`: parts of the script. The
  numbers are those of its acts (`# 1. The same start ---`), `imports` is what stands
  above the first function or act, `begin` what the function of a rank begins with,
  `main` the end. A page that names all parts shows the whole script.
- `<!-- diff chapters/01_single_gpu.py chapters/05_ddp_training.py -->`: what `diff -u`
  says about their code, without headers.
- `<!-- new chapters/03_data_sharding.py -->`: what it uses that no chapter before used.
- `<!-- captured 05_ddp_training -->`: what the terminal showed, and where that was;
  `capture_chapters.py` made it.
- `<!-- road -->`: a line for each chapter, with question and measured time.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import inspect
import pathlib
import re
import textwrap

import records
from records import ROOT

ACT = re.compile(r"^ *# (\d+)\. .*-{3,}$")
SECTION = re.compile(r"^ *# --8<-- \[(start|end):[a-z-]+\]$")
PAGES = {
    "01_single_gpu": "single-gpu",
    "02_process_group": "process-group",
    "03_data_sharding": "data-sharding",
    "04_gradient_sync": "gradient-sync",
    "05_ddp_training": "ddp-training",
    "06_ddp_benchmark": "ddp-benchmark",
}


def parts(text: str) -> dict[str, list[str]]:
    r"""Cut a chapter into `header`, `imports`, `begin`, its acts `1`, `2`, and `main`.

    Args:
        text: The script.

    Returns:
        Lines by part, in order, without the marks of sections. `header` is the
        docstring. Put together they are the whole script.

    Examples:
        >>> list(parts("'About.'\nimport os\n\ndef go():\n    # 1. Go ---\n    pass"))
        ['header', 'imports', 'begin', '1']
    """
    docstring_end = ast.parse(text).body[0].end_lineno or 0
    lines_by_part: dict[str, list[str]] = {"header": []}
    part = "header"
    for number, line in enumerate(text.splitlines(), start=1):
        if SECTION.match(line):
            continue
        if part == "header" and number > docstring_end:
            part = "imports"
        elif line.startswith("def ") and (part == "imports" or "ranks: dist." in line):
            part = "begin"
        elif line == "def main() -> None:":
            part = "main"
        elif part != "main" and (act := ACT.match(line)):
            part = act[1]
        lines_by_part.setdefault(part, []).append(line)
    return lines_by_part


def _read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _act(argument: str) -> str:
    """Some parts of a chapter as a fence."""
    path, _, wanted = argument.partition(": ")
    by_part = parts(_read(path))
    lines = [line for name in wanted.split() for line in by_part[name]]
    # WHY the acts' own blanks go: an act in a loop stands eight columns in.
    code = textwrap.dedent("\n".join(lines)).strip("\n")
    # WHY not "```python": ruff would format it, and the page shows the script as it is.
    return f'``` {{ .python title="{path}" }}\n{code}\n```'


def code(path: str) -> list[str]:
    """The lines of a chapter below its header, without the marks of sections."""
    by_part = parts(_read(path))
    return [
        line for name, lines in by_part.items() if name != "header" for line in lines
    ]


def _diff(argument: str) -> str:
    """What two scripts differ in, as diff -u shows it, without the files' lines."""
    old, new = argument.split()
    changes = list(difflib.unified_diff(code(old), code(new), lineterm="", n=2))[2:]
    lines = [re.sub(r"^@@ .* @@$", "@@", line) for line in changes]
    title = f"{pathlib.Path(old).name} -> {pathlib.Path(new).name}"
    return "\n".join([f'```diff title="{title}"', *lines, "```"])


def names(path: str) -> dict[str, str]:
    """The imported things that a script uses.

    Args:
        path: The script, from the root of the repository.

    Returns:
        As written (`dist.setup`) -> full name (`distrinews.dist.setup`).
    """
    tree = ast.parse(_read(path))
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {a.asname or a.name: a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            imported |= {
                a.asname or a.name: f"{node.module}.{a.name}" for a in node.names
            }
    used = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            base, full = node.value.id, imported.get(node.value.id, "")
            # WHY not of a class: `Settings.model_validate` is pydantic's.
            if full and (base[0].islower() or len(base) == 1):
                used[f"{base}.{node.attr}"] = f"{full}.{node.attr}"
    modules = {name.partition(".")[0] for name in used}
    return used | {n: f for n, f in imported.items() if n not in modules and "." in f}


@functools.cache
def _summary(full: str) -> str:
    """The first line of a thing's docstring; empty for what is not ours."""
    module, _, name = full.rpartition(".")
    member = getattr(importlib.import_module(module), name, None)
    docstring = inspect.getdoc(member) or ""
    documented = full.startswith("distrinews.") and callable(member)
    return docstring.partition("\n")[0] if documented else ""


def _new(path: str) -> str:
    """What a chapter uses that no chapter before it did."""
    chapters = [f"chapters/{name}.py" for name in PAGES]
    earlier = chapters[: chapters.index(path)]
    known_names = {full for script in earlier for full in names(script).values()}
    new_names = {n: f for n, f in names(path).items() if f not in known_names}
    own = {n: f for n, f in new_names.items() if f.startswith("distrinews.")}
    others = sorted(set(new_names) - set(own))
    lines = []
    if others:
        lines += ["From torch and Python: " + ", ".join(f"`{n}`" for n in others), ""]
    lines += ["| from the library | what it promises |", "|---|---|"]
    # A module's own name says nothing that its functions do not say.
    lines += [f"| [`{n}`][{f}] | {_summary(f)} |" for n, f in sorted(own.items())]
    return "\n".join(lines)


def origin(name: str) -> str:
    """Say where and when an output was captured, and how long that took."""
    run = records.capture(name)
    env = run["environment"]
    busy = (
        f" Other programs took {run['others_share']:.0%} of the processor meanwhile: "
        "its times are no measurements."
    ) * run["busy"]
    return (
        f"Our run of {run['date']}: {env['cpu']}, {env['num_cores']} cores, "
        f"{env['system'].partition('-')[0]}, Python {env['python']}, torch "
        f"{env['packages']['torch']}; {run['seconds']:.0f} s, everything "
        f"included.{busy}"
    )


def _captured(name: str) -> str:
    """A captured output, its command above it and its origin below it."""
    # Long lines wrap as a terminal wraps them; a table would fall apart, and scrolls.
    wide = " .wide" * ("| ---" in records.captured_text(name))
    return "\n".join([
        f"``` {{ .text{wide} title='{records.capture(name)['command']}' }}",
        f'--8<-- "learn/captured/{name}.txt"',
        "```",
        "",
        f"<small>{origin(name)}</small>",
    ])


def header(text: str) -> dict[str, str]:
    """The entries of a chapter's docstring.

    Args:
        text: The script.

    Returns:
        "Question" -> its text, and so on; "title" -> the first line.
    """
    about = ast.get_docstring(ast.parse(text)) or ""
    title, _, rest = about.partition("\n")
    entries, name = {"title": title}, ""
    for line in rest.splitlines():
        word = line[:10].strip()
        if word and word != "first":
            name = word
        if name:
            entries[name] = f"{entries.get(name, '')} {line[10:].strip()}".strip()
    return entries


def _chapter_table(_: str) -> str:
    """Chapter, question, and how long it took here."""
    lines = ["| chapter | the question it answers | took here |", "|---|---|---|"]
    for name, page in PAGES.items():
        entries = header(_read(f"chapters/{name}.py"))
        title = entries["title"].partition(" - ")[2].rstrip(".")
        run = records.capture(name)
        took = f"{run['seconds']:.0f} s" + ", on a busy machine" * run["busy"]
        lines.append(
            f"| [{name[:2]} {title}]({page}.md) | {entries['Question']} | {took} |"
        )
    return "\n".join(lines)


BLOCKS = {
    "act": _act,
    "diff": _diff,
    "new": _new,
    "captured": _captured,
    "road": _chapter_table,
}
