"""Make `distrinews.ipynb` from `kaggle_notebook.py`.

Why two files: a diff of the .py can be read and its code is checked like any other;
Kaggle takes only the .ipynb. The same text makes the same bytes: cells are numbered
and not named by chance, and there is no output in them.

`python apps/kaggle/build_notebook.py` renews it; with `--check` it only says
whether it is stale, with exit code 1.
"""

from __future__ import annotations

import json
import pathlib
import sys

import jupytext

__all__ = ["NOTEBOOK", "SOURCE", "render"]

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE / "kaggle_notebook.py"
NOTEBOOK = HERE / "distrinews.ipynb"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    # As Kaggle's own editor writes it (kaggle-cli issue 821): GPU T4 x2, internet on.
    "kaggle": {
        "accelerator": "nvidiaTeslaT4",
        "isGpuEnabled": True,
        "isInternetEnabled": True,
        "language": "python",
        "sourceType": "notebook",
    },
}


def render(text: str) -> str:
    """Turn percent cells into a notebook.

    Args:
        text: Of the .py file.

    Returns:
        Of the .ipynb file.
    """
    notebook = jupytext.reads(text, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"
        cell["metadata"] = {}
    # WHY not jupytext's own: it names its version, and each release would be a change.
    notebook["metadata"] = METADATA
    made = json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False)
    return f"{made}\n"


def main() -> int:
    """Renew or check the notebook.

    Returns:
        The exit code.
    """
    made = render(SOURCE.read_text(encoding="utf-8"))
    if NOTEBOOK.exists() and NOTEBOOK.read_text(encoding="utf-8") == made:
        return 0
    print(f"stale: {NOTEBOOK.name}; run: python apps/kaggle/build_notebook.py")
    if "--check" in sys.argv:
        return 1
    NOTEBOOK.write_text(made, encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
