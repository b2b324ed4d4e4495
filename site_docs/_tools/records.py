"""What lies beside the pages: committed measurements, and captured runs of chapters."""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib
from typing import Any

from distrinews.system import files

__all__ = [
    "CAPTURED",
    "RESULTS",
    "ROOT",
    "SITE",
    "capture",
    "captured_text",
    "figures",
    "record",
    "sha256",
]

ROOT = pathlib.Path(__file__).resolve().parents[2]
SITE = ROOT / "site_docs"
RESULTS = SITE / "benchmarks" / "results"
CAPTURED = SITE / "learn" / "captured"
# Part of the processor that other programs may take before times say nothing.
MAX_OTHERS_SHARE = 0.05


def record(name: str) -> Any:
    """A committed measurement, whole."""
    return files.read_json(RESULTS / f"{name}.json")


@functools.cache
def figures(name: str) -> Any:
    """The figures of a committed measurement."""
    return record(name)["figures"]


def capture(name: str) -> dict[str, Any]:
    """Tell what is known of a captured command.

    Args:
        name: Its step, by which the file of its output is called.

    Returns:
        Its `command`, `seconds` and `others_share`; whether the machine was `busy`;
        `date` and `environment` of its capture.

    Raises:
        SystemExit: It was never captured.
    """
    for path in sorted(CAPTURED.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        if name in found["steps"]:
            step: dict[str, Any] = found["steps"][name]
            busy = step["others_share"] > MAX_OTHERS_SHARE
            origin = {key: found[key] for key in ("date", "environment")}
            return step | origin | {"busy": busy}
    raise SystemExit(f"nothing was captured as {name}: see capture_chapters.py")


def captured_text(name: str) -> str:
    """What a captured command printed."""
    return (CAPTURED / f"{name}.txt").read_text(encoding="utf-8")


def sha256(path: pathlib.Path) -> str:
    """Hash a text file; the line ends of the system do not count."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
