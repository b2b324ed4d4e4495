"""What Kaggle and the pages about the apps are told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from . import ROOT, SITE, Finding, expect, words

KAGGLE = ROOT / "apps" / "kaggle"
NOTEBOOK = KAGGLE / "distrinews.ipynb"
METADATA = KAGGLE / "kernel-metadata.json"


def notebook_faults(notebook: Mapping[str, Any]) -> Iterator[str]:
    """What keeps the notebook from being what a reader of Kaggle starts from."""
    cells = notebook["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    steps = [cell["source"] for cell in cells if cell["source"].startswith("## ")]
    numbers = [int(text.split()[1].rstrip(".")) for text in steps]
    kaggle = notebook["metadata"]["kaggle"]
    lines = [line.strip() for cell in code for line in cell["source"].splitlines()]
    for holds, what in (
        (len(code) >= 14, "under 14 cells of code"),
        (not any(cell["outputs"] for cell in code), "a cell has an output"),
        (not any(cell["execution_count"] for cell in code), "a cell was run"),
        (len({cell["id"] for cell in cells}) == len(cells), "an id stands twice"),
        (kaggle["accelerator"] == "nvidiaTeslaT4", "it does not ask for GPUs"),
        (kaggle["isInternetEnabled"] is True, "it does not ask for the internet"),
        (numbers == list(range(1, 15)), "not 14 steps in order"),
        (
            all("**Look at**" in text for text in steps[:-1]),
            "a step does not say what to look at",
        ),
        # WHY: a process with a CUDA context keeps memory of GPU 0 while others train.
        (not any(map(loads_torch, lines)), "a cell loads torch"),
    ):
        if not holds:
            yield what


def loads_torch(line: str) -> bool:
    """Whether a line imports torch, by itself or with our library."""
    return re.match(r"(import|from) (torch|distrinews)\b", line) is not None


def metadata_faults(metadata: Mapping[str, Any]) -> list[str]:
    """What Kaggle's documented format (kernels_metadata.md) would refuse."""
    mistakes = [
        f"{name} is missing"
        for name in ("id", "title", "code_file", "language", "kernel_type")
        if not metadata.get(name)
    ]
    if mistakes:
        return mistakes
    slug = metadata["title"].lower().replace(" ", "-")
    if metadata["id"].partition("/")[2] != slug:
        mistakes.append(f"the id must end with the title's slug, {slug}")
    if not (KAGGLE / metadata["code_file"]).is_file():
        mistakes.append("code_file does not exist")
    if metadata["language"] not in ("python", "r", "rmarkdown"):
        mistakes.append("unknown language")
    if metadata["kernel_type"] not in ("script", "notebook"):
        mistakes.append("unknown kernel_type")
    for name in ("is_private", "enable_gpu", "enable_internet"):
        if metadata.get(name) not in (True, False):
            mistakes.append(f"{name} is no boolean")
    for name in ("dataset", "competition", "kernel", "model"):
        if not isinstance(metadata.get(f"{name}_sources"), list):
            mistakes.append(f"{name}_sources is no list")
    return mistakes


def check_the_notebook() -> Iterator[Finding]:
    faults = notebook_faults(json.loads(words(NOTEBOOK)))
    yield from expect(NOTEBOOK, ((False, what) for what in faults))
    paths = list(KAGGLE.glob("kaggle_[dipr]*.py"))
    yield from expect(KAGGLE, ((len(paths) >= 3, "few modules were found"),))
    for path in paths:
        for number, line in enumerate(words(path).splitlines(), start=1):
            if loads_torch(line.strip()):
                yield Finding(str(path.relative_to(ROOT)), number, "it loads torch")


def check_the_notebooks_metadata() -> Iterator[Finding]:
    metadata = json.loads(words(METADATA))
    switches = ("enable_gpu", "enable_internet", "is_private")
    yield from expect(
        METADATA,
        (
            *((False, what) for what in metadata_faults(metadata)),
            (metadata["code_file"] == NOTEBOOK.name, "another notebook"),
            (all(metadata[name] is True for name in switches), f"not all: {switches}"),
            # "GPU T4 x2" of the editor
            (metadata["machine_shape"] == "NvidiaTeslaT4", "not two T4"),
        ),
    )


def check_the_page_about_serving() -> Iterator[Finding]:
    path = SITE / "howto" / "serve.md"
    clients = sorted(path.name for path in (ROOT / "apps" / "clients").iterdir())
    yield from expect(
        path,
        (
            (f'--8<-- "apps/clients/{name}"' in words(path), f"no {name} is shown")
            for name in clients
        ),
    )


def check_the_page_about_spaces() -> Iterator[Finding]:
    from distrinews.cli.parser import parser

    path = SITE / "howto" / "space.md"
    lines = re.findall(r"python -m distrinews (.+)", words(path))
    yield from expect(path, ((lines, "no command was found"),))
    for line in lines:
        try:
            is_space = parser().parse_args(line.split()).command == "space"
        except SystemExit:
            is_space = False
        yield from expect(path, ((is_space, f"no such command: {line}"),), near=line)


def check_the_notebooks_guide_and_text_agree() -> Iterator[Finding]:
    """The notebook is what its text makes; this needs jupytext ("proofs")."""
    import importlib.util
    import sys

    if importlib.util.find_spec("jupytext") is None:
        return
    sys.path.append(str(KAGGLE))
    import build_notebook

    made = build_notebook.render(words(build_notebook.SOURCE))
    fresh = words(NOTEBOOK) == made
    stale = "stale: python apps/kaggle/build_notebook.py"
    yield from expect(NOTEBOOK, ((fresh, stale),))
