"""What is in the folder of a Space beside the app and its model.

Promise: every package that is named bare in `apps/space` gets the version that CI ran
with, and the library is what its wheel holds, not what lies around in the checkout.

Not here: which model, and the folder as a whole (`apps/space/space.py`).

Guide: howto/space.
"""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

from packaging.utils import canonicalize_name

import distrinews
from distrinews.data.labels import list_classes
from distrinews.errors import SetupError
from distrinews.system.checkout import ROOT

__all__ = [
    "HARDWARE",
    "ROOT",
    "copy_page",
    "front_page",
    "requirements",
    "unpack_library",
]

PIN = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)", re.MULTILINE)
NAME = re.compile(r"^[A-Za-z0-9_.-]+$", re.MULTILINE)  # without a version


@dataclass(frozen=True)
class Hardware:
    """What differs between the kinds of hardware that Spaces offer.

    Attributes:
        flavour: Its name on the Hub.
        python_version: What the Space runs with.
    """

    flavour: str
    python_version: str


HARDWARE = {
    # The Python that CI runs with.
    "cpu": Hardware("cpu-basic", "3.11"),
    # One of the two that ZeroGPU lists (August 2026): 3.12.12 and 3.10.13.
    "zerogpu": Hardware("zero-a10g", "3.12.12"),
}


def copy_page(folder: pathlib.Path) -> None:
    """Put the demo page into a new folder, with the course's picture that it shows.

    Args:
        folder: Where; must not exist.
    """
    shutil.copytree(ROOT / "apps/page", folder)
    shutil.copy(ROOT / "site_docs/diagrams/ddp-step.svg", folder)


def unpack_library(draft: pathlib.Path) -> None:
    """Put this library into a folder, as its wheel holds it.

    Args:
        draft: The folder.

    Raises:
        SetupError: pip is missing, or cannot build the wheel.
    """
    # WHY not the wheel and a line in requirements.txt: when a Space installs, only
    # requirements.txt is there. What lies beside app.py is imported as it is.
    with tempfile.TemporaryDirectory() as work:
        source, wheels = pathlib.Path(work, "source"), pathlib.Path(work, "wheels")
        # WHY a copy: setuptools packs again what an older build left in build/.
        shutil.copytree(
            ROOT / "distrinews",
            source / "distrinews",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copyfile(ROOT / name, source / name)
        pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
        done = subprocess.run(
            (*pip, "--wheel-dir", str(wheels), str(source)),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            errors = done.stderr.strip().splitlines() or ["pip said nothing"]
            raise SetupError(
                f"the library could not be packed: {errors[-1]}",
                why="the Space needs a copy of it.",
                fix=f"{sys.executable} -m pip wheel --no-deps {ROOT} shows the cause.",
                page="space",
            )
        (wheel,) = wheels.glob("distrinews-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(draft)


def requirements(hardware: str) -> str:
    """Name the packages of a Space, each with the version that was tested.

    Args:
        hardware: A name in `HARDWARE`.

    Returns:
        The text of requirements.txt.
    """
    texts = [
        (ROOT / f"apps/space/requirements-{part}.txt").read_text(encoding="utf-8")
        for part in (hardware, "both")
    ]
    tested = _tested_versions()
    return NAME.sub(
        lambda m: f"{m[0]}=={tested[canonicalize_name(m[0])]}", "".join(texts)
    )


def front_page(
    hardware: str, *, hub_lines: str, model_line: str, labels: Sequence[str]
) -> str:
    """Write README.md: its head is what the platform reads.

    Args:
        hardware: A name in `HARDWARE`.
        hub_lines: Lines of the head that name what lies on the Hub; may be empty.
        model_line: Says where the model is.
        labels: The names of its classes.

    Returns:
        The text.
    """
    template = (ROOT / "apps/space/README.md").read_text(encoding="utf-8")
    return template.format(
        title="DistriNews",
        sdk_version=_tested_versions()["gradio"],
        python_version=HARDWARE[hardware].python_version,
        suggested_hardware=HARDWARE[hardware].flavour,
        hub_lines=hub_lines,
        model_line=model_line,
        num_classes=len(labels),
        class_list=list_classes(labels),
        hardware=hardware,
        version=distrinews.__version__,
    )


def _tested_versions() -> dict[str, str]:
    """Package -> version that CI ran with."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    return {canonicalize_name(name): version for name, version in PIN.findall(text)}
