"""Prove that a folder holds the files that were written, and no others.

Promise: a byte that changed, a file that is missing or was added is found before
anything is loaded.

Not here: what the files are (`distrinews.checkpoint`, `distrinews.training.export`). A
manifest tells damage from what was written; it is no signature, and does not tell who
wrote.

Guide: understand/checkpoint.
"""

from __future__ import annotations

import pathlib
from typing import Any, NoReturn

from distrinews.errors import CheckpointError
from distrinews.system import files

__all__ = ["MANIFEST", "verify", "write_manifest"]

FORMAT = 1
MANIFEST = "manifest.json"


def write_manifest(folder: pathlib.Path) -> None:
    """List the size and SHA-256 of each file of a folder in `manifest.json`.

    Args:
        folder: Complete but for the manifest.
    """
    entries = {
        path.name: {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST
    }
    files.write_json(folder / MANIFEST, {"format": FORMAT, "files": entries})


def verify(folder: pathlib.Path, *, strict: bool = True) -> dict[str, Any]:
    """Make sure that each file of a folder is the one that its manifest names.

    Args:
        folder: A checkpoint or an export.
        strict: Refuse files that the manifest does not list. An export may get some,
            such as the `.gitattributes` of a model repository.

    Returns:
        The manifest.

    Raises:
        CheckpointError: A file is missing or differs, or the manifest itself is
            damaged. On this rank only.
    """
    manifest, entries = _read_manifest(folder)
    for name, num_bytes, digest in entries:
        path = folder / name
        # WHY compare names: a manifest that lists "../../x" would have us read foreign
        # files, and one that lists nothing would find nothing wrong.
        try:
            if pathlib.PurePath(name).name != name or not path.is_file():
                _raise_damaged(folder, f"{name[:100]} is missing")
            if path.stat().st_size != num_bytes:
                _raise_damaged(folder, f"{name} has another size")
            if files.sha256(path) != digest:
                _raise_damaged(folder, f"{name} has another content")
        except OSError as error:
            _raise_damaged(folder, f"{name[:100]} cannot be read ({error.strerror})")
    listed = {name for name, _, _ in entries} | {MANIFEST}
    unlisted = sorted({path.name for path in folder.iterdir()} - listed)
    if strict and unlisted:
        _raise_damaged(folder, f"not listed in its manifest: {unlisted}")
    return manifest


def _read_manifest(
    folder: pathlib.Path,
) -> tuple[dict[str, Any], list[tuple[str, int, str]]]:
    """The manifest, and its entries as (file name, bytes, SHA-256)."""
    try:
        manifest = files.read_json(folder / MANIFEST)
        entries = [
            (str(name), int(entry["bytes"]), str(entry["sha256"]))
            for name, entry in manifest["files"].items()
        ]
        known_format = manifest["format"] == FORMAT
    # WHY all these kinds: JSON can hold lists for tables.
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        _raise_damaged(folder, f"{MANIFEST} is missing or unreadable")
    if not known_format:
        _raise_damaged(folder, f"its format is not {FORMAT}")
    return dict(manifest), entries


def _raise_damaged(folder: pathlib.Path, reason: str) -> NoReturn:
    """Raise the error of a damaged folder."""
    raise CheckpointError(
        f"{folder} is damaged: {reason}.",
        why="loading it would continue from other numbers than were saved.",
        fix=f"delete {folder}; a resume then takes the one before it.",
        page="checkpoint",
    )
