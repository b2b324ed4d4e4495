"""Draw blocks of the library's code and of computed numbers.

- `<!-- source distrinews/sync/average.py::average_gradients -->`: that function or
  class as it stands in the file, without its docstring. `Class.method` works, too.
- `<!-- numbers ring_cost -->`: the Markdown of that figure in a file `numbers_*.py`; it
  computes with the library. `<!-- numbers scale_step 8 -->` asks it for 8 ranks.
"""

from __future__ import annotations

import ast
import importlib
import textwrap

from number_tables import FIGURES
from records import ROOT, SITE

for path in sorted((SITE / "_tools").glob("numbers_*.py")):
    importlib.import_module(path.stem)


def _numbers(argument: str) -> str:
    name, *numbers = argument.split()
    return FIGURES[name](*map(int, numbers))


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


BLOCKS = {"source": excerpt, "numbers": _numbers}
