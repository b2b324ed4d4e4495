"""Write code of the library and computed numbers into the pages.

A page holds a marker and `<!-- end -->`; what stands between them is made here:

- `<!-- source distrinews/sync/average.py::average_gradients -->`: that function or
  class as it stands in the file, without its docstring. `Class.method` works, too.
- `<!-- numbers ring_cost -->`: the Markdown that the function `ring_cost` of a file
  `site_docs/_tools/numbers_*.py` returns; it computes with the library.

`python site_docs/_tools/fill_pages.py` renews all pages; with `--check` it only says
which are stale, with exit code 1.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
import sys
import textwrap
from collections.abc import Callable

import renewal
from renewal import ROOT, SITE

TOOLS = SITE / "_tools"
BLOCK = re.compile(
    r"(<!-- (source|numbers) (\S+) -->\n)(?:(?!<!-- (?:source|numbers) ).)*?"
    r"(<!-- end -->)",
    re.DOTALL,
)


def render(text: str) -> str:
    """Fill every block of a page.

    Args:
        text: The page.

    Returns:
        The page with its blocks renewed.
    """
    return BLOCK.sub(_block, text)


def _block(match: re.Match[str]) -> str:
    """One block, with blank lines around it: Markdown wants them."""
    opening, kind, argument, closing = match.groups()
    content = excerpt(argument) if kind == "source" else renderers()[argument]().strip()
    return f"{opening}\n{content}\n\n{closing}"


def excerpt(target: str) -> str:
    """A function or class as it stands in its file, without the docstring.

    Args:
        target: `PATH::NAME` or `PATH::CLASS.METHOD`.

    Returns:
        A Python fence with path and name in its title.

    Raises:
        SystemExit: The file has no such name.
    """
    path, _, name = target.partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    node = _find_definition(ast.parse(text), name.split("."))
    if node is None:
        raise SystemExit(f"{path} has no {name}: correct the marker.")
    lines = text.splitlines()
    first_line = min([
        node.lineno,
        *(decorator.lineno for decorator in node.decorator_list),
    ])
    excerpt_lines = lines[first_line - 1 : node.end_lineno]
    first_statement = node.body[0]
    if ast.get_docstring(node) is not None and len(node.body) > 1:
        end_line = first_statement.end_lineno or first_statement.lineno
        del excerpt_lines[
            first_statement.lineno - first_line : end_line - first_line + 1
        ]
    code = textwrap.dedent("\n".join(excerpt_lines))
    return f'```python title="{path}: {name}"\n{code}\n```'


Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _find_definition(within: ast.Module | Named, names: list[str]) -> Named | None:
    """The definition that a dotted name leads to."""
    for node in within.body:
        if isinstance(node, Named) and node.name == names[0]:
            return node if len(names) == 1 else _find_definition(node, names[1:])
    return None


@functools.cache
def renderers() -> dict[str, Callable[[], str]]:
    """Every public function of the files `numbers_*.py`, by its name."""
    sys.path.insert(0, str(TOOLS))
    functions: dict[str, Callable[[], str]] = {}
    for path in sorted(TOOLS.glob("numbers_*.py")):
        module = importlib.import_module(path.stem)
        for name in module.__all__:
            if name in functions:
                raise SystemExit(f"two makers are called {name}: rename one.")
            functions[name] = getattr(module, name)
    return functions


def main() -> int:
    """Renew or check all pages.

    Returns:
        The exit code.
    """
    return renewal.finish(renewal.pages(render))


if __name__ == "__main__":
    sys.exit(main())
