"""Execute a notebook as "Run All" does; keep its outputs, also of a failure."""

from __future__ import annotations

import pathlib
import sys

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

if __name__ == "__main__":
    source, target = map(pathlib.Path, sys.argv[1:])
    notebook = nbformat.read(source, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=400,  # a cell
        kernel_name="python3",
        resources={"metadata": {"path": str(target.parent)}},
    )
    try:
        client.execute()
    except CellExecutionError as error:
        sys.exit(str(error))
    finally:
        nbformat.write(notebook, target)
