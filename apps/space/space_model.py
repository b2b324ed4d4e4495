"""Find the model that the folder of a Space was built for; runs where the Space runs.

Not here: building the folder (`space.py`).

Guide: howto/space.
"""

from __future__ import annotations

import pathlib

from distrinews.errors import HubUnreachableError, ModelError
from distrinews.inference.bundle import Bundle, open_bundle
from distrinews.system import files, hub

__all__ = ["MANIFEST", "MODEL_FOLDER", "find_model", "from_hub"]

MANIFEST = "MANIFEST.json"
MODEL_FOLDER = "model"  # where an export lies that came with the folder


def find_model(folder: pathlib.Path) -> pathlib.Path:
    """Find the model of a built folder; called where the Space runs.

    Args:
        folder: What `build` made.

    Returns:
        The folder of the export, its files verified.

    Raises:
        ModelError: It is not the model that the folder was built for.
        HubUnreachableError: It is not cached, and the Hub does not answer.

    Note:
        Cost: no network where the platform loaded the files before
        (preload_from_hub); else one download.
    """
    pinned = files.read_json(folder / MANIFEST)["model"]
    if pinned["repo"] is None:
        bundle = open_bundle(folder / MODEL_FOLDER)
    else:
        bundle = from_hub(pinned["repo"], pinned["revision"], pinned["files"])
    if bundle.identity.sha256 != pinned["sha256"]:
        raise ModelError(
            f"the weights in {bundle.folder} are others than this Space was made for.",
            why="its answers would differ from the tested ones.",
            fix="build the Space's folder again, and push it.",
            page="space",
        )
    return bundle.folder


def from_hub(repo_id: str, revision: str, names: list[str] | None = None) -> Bundle:
    """Download a commit of a repository, or find it in the cache, and verify it.

    Args:
        repo_id: USER/NAME.
        revision: The commit.
        names: Only these files; None for all.

    Returns:
        The export in it.

    Raises:
        ModelError: It is no export, or a file of it is damaged.
        HubUnreachableError: It is not cached, and the Hub does not answer.
    """
    try:
        folder = hub.snapshot(
            repo_id, repo_type="model", allow_patterns=names, revision=revision
        )
    except HubUnreachableError as error:
        raise HubUnreachableError(
            error.what,
            why="a Space without its model answers nothing.",
            fix=f"check that {repo_id} is public and has the commit {revision}; then "
            "start again.",
            page="space",
        ) from error
    return open_bundle(folder)
