"""Open an exported model's folder: its files proven, its facts read, no weights yet.

Promise: what this module returns was vouched for by the folder's manifest, holds no
pickle and runs no code from the bundle. It loads neither torch nor transformers.

Not here: writing the folder (`distrinews.training.export`), computing
(`distrinews.inference.engines`).

Guide: understand/training-and-inference.
"""

from __future__ import annotations

import hashlib
import pathlib
from dataclasses import dataclass
from typing import Any

from distrinews.errors import CheckpointError, ModelError
from distrinews.system import files, manifest

__all__ = ["CONFIG", "TOKENIZER", "WEIGHTS", "Bundle", "Identity", "open_bundle"]

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
WEIGHTS = "model.safetensors"
TOKENIZER_CONFIG, FACTS = "tokenizer_config.json", "distrinews.json"
# What an answer depends on; the manifest must vouch for each.
REQUIRED_FILES = {CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG}
# Formats that run code when they are read.
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


@dataclass(frozen=True)
class Identity:
    """Which model answers.

    Attributes:
        id: A name for people: the Hub's repository, else preset and run.
        sha256: Of the weights, as the manifest lists it.
        run_id: The run that trained it.
    """

    id: str
    sha256: str
    run_id: str


@dataclass(frozen=True)
class Bundle:
    """An export, its files verified.

    Attributes:
        folder: Where it lies.
        digests: SHA-256 of each file that its manifest lists, by name.
        labels: Class names, in the order of the logits [C].
        max_length: Tokens after which texts are cut.
        pad_id: The token id that fills short rows.
        facts: What the training run said of it; empty if it is not from here.
    """

    folder: pathlib.Path
    digests: dict[str, str]
    labels: tuple[str, ...]
    max_length: int
    pad_id: int
    facts: dict[str, Any]

    def read(self, name: str) -> bytes:
        """Read a file into memory, if it is still the one that was verified.

        Why not by its path: it could be replaced between the check and the reading, and
        a mapped file that is cut short kills the process.

        Args:
            name: A file that the manifest lists.

        Returns:
            Its content.

        Raises:
            ModelError: It is not listed, or has another content by now.
        """
        return _read(self.folder, name, self.digests)

    @property
    def identity(self) -> Identity:
        """Which model this is."""
        run_id = str(self.facts.get("run_id", "unknown"))
        name = f"{self.facts.get('preset', self.folder.name)}/{run_id}"
        return Identity(_hub_name(self.folder) or name, self.digests[WEIGHTS], run_id)


def open_bundle(folder: pathlib.Path | str) -> Bundle:
    """Open an export: verify its files and read what they say of the model.

    Args:
        folder: An export, or the run folder that holds it.

    Returns:
        The export.

    Raises:
        ModelError: There is none, a file in it is damaged, or it is of a kind that is
            not opened here: pickled weights, its own Python code.

    Note:
        Cost: reads every file once, 0.1 s for 90 MB on a machine with SHA instructions.
    """
    path = pathlib.Path(folder)
    root = path / "export" if (path / "export").is_dir() else path
    _check_files(path, root)
    digests = _verified(root)
    try:
        config, tokenizer_config = (
            _read_object(root, name, digests) for name in (CONFIG, TOKENIZER_CONFIG)
        )
        names = {int(index): str(name) for index, name in config["id2label"].items()}
        labels = tuple(names[index] for index in range(len(names)))
        position_limit = int(config.get("max_position_embeddings", 512))
        # WHY the smaller one: a tokenizer without a configured limit says 10**30.
        max_length = min(
            position_limit,
            int(tokenizer_config.get("model_max_length", position_limit)),
        )
        pad_id = int(config.get("pad_token_id") or 0)
        facts = _read_object(root, FACTS, digests) if FACTS in digests else {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{root} is no classifier that can be read: {error}.",
            why="class names and the longest text are read from its JSON files.",
            fix="export again.",
            page="predict",
        ) from error
    if "auto_map" in config:
        raise ModelError(
            f"{root} wants to run its own Python code (auto_map in {CONFIG}).",
            why="opening a model must not run what its author wrote.",
            fix="use a model of an architecture that transformers itself has.",
            page="predict",
        )
    return Bundle(root, digests, labels, max_length, pad_id, facts)


def _check_files(path: pathlib.Path, root: pathlib.Path) -> None:
    """Raise a ModelError if the folder holds no export, with the reason."""
    if (root / WEIGHTS).is_file() and (root / manifest.MANIFEST).is_file():
        return
    pickles = sorted(p.name for kind in PICKLES for p in root.glob(kind))
    if pickles and not (root / WEIGHTS).is_file():
        raise ModelError(
            f"{root} holds pickled weights only: {pickles[0]}.",
            why="reading a pickle runs whatever code its author put there.",
            fix="fetch the model's safetensors, or export it with this library.",
            page="predict",
        )
    if not (root / manifest.MANIFEST).is_file():
        runs = sorted(pathlib.Path("runs").glob("*/export"))
        raise ModelError(
            f"{path} holds no exported model.",
            why="a prediction needs weights, tokenizer and label names.",
            fix=f"--model {runs[-1].parent}" if runs else "train one: see the README",
            page="predict",
        )


def _verified(root: pathlib.Path) -> dict[str, str]:
    """The listed files' SHA-256 by name, each file checked."""
    try:
        listed = manifest.verify(root, strict=False)["files"]
        # WHY: without this, a manifest that lists no weights would vouch for any.
        missing = sorted(REQUIRED_FILES - listed.keys())
        if missing:
            raise CheckpointError(
                f"{root} lists no {missing}.",
                why="unlisted files could be anything.",
                fix="export again.",
                page="predict",
            )
    except CheckpointError as error:
        raise ModelError(
            error.what,
            why="its answers would not be those that were measured.",
            fix="export again, or fetch the folder again.",
            page="predict",
        ) from error
    return {name: str(entry["sha256"]) for name, entry in listed.items()}


def _read(root: pathlib.Path, name: str, digests: dict[str, str]) -> bytes:
    """The content of a listed file, checked in memory."""
    try:
        content = (root / name).read_bytes() if name in digests else b""
    except OSError as error:
        reason = f"cannot be read ({error.strerror})"
    else:
        if hashlib.sha256(content).hexdigest() == digests.get(name):
            return content
        reason = "has another content" if name in digests else "is not in its manifest"
    raise ModelError(
        f"{root} is damaged: {name} {reason}.",
        why="its answers would not be those that were measured.",
        fix="export again, or fetch the folder again.",
        page="predict",
    )


def _read_object(
    root: pathlib.Path, name: str, digests: dict[str, str]
) -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    value = files.parse_json(_read(root, name, digests))
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds no table")
    return value


def _hub_name(folder: pathlib.Path) -> str | None:
    """The repository, where the folder lies in the Hub's cache."""
    # .../models--USER--NAME/snapshots/REVISION
    parts = folder.parts[-3:]
    if len(parts) == 3 and parts[1] == "snapshots" and parts[0].startswith("models--"):
        return parts[0].removeprefix("models--").replace("--", "/")
    return None
