"""Checkpoints on the disk: write one atomically, find the newest, load it.

Each section of a state has its place in `state.json` and, if it holds tensors, a file
`SECTION.safetensors`. Each file's SHA-256 stands in a manifest.

Not here: what a state holds (`distrinews.checkpoint.state`), the model folder for
serving (`distrinews.training.export`), where runs lie (`distrinews.training.runs`).

Guide: understand/checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pathlib
from typing import Any, NoReturn

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from distrinews import dist
from distrinews.checkpoint import encoding, format1
from distrinews.checkpoint.state import (
    TrainingState,
    load_model,
    random_states,
    restore_random,
)
from distrinews.errors import CheckpointError
from distrinews.system import files
from distrinews.system.manifest import verify, write_manifest

__all__ = ["latest", "load_training", "load_weights", "restore", "save"]

log = logging.getLogger(__name__)
# Raised with each change that an older version could not read.
FORMAT = 2
# What reading somebody's file as tensors and tables may raise.
MALFORMED = (SafetensorError, LookupError, TypeError, ValueError, AttributeError)
BYTES_READ_AT_ONCE = 8 * 2**20
# The same on every rank, so rank 0 saves them for all.
SHARED_SECTIONS = ("weights", "optimizer", "scheduler", "sampler", "extra", "fits")
# WHY copied when loaded: tensors from safetensors map their file. torch's optimizer and
# a reader's own objects keep the tensors that they are given, and Windows removes no
# file that is mapped: old checkpoints would stay. torch itself copies weights.
KEPT_SECTIONS = ("optimizer", "scheduler", "extra")


def save(
    root: pathlib.Path | str,
    state: TrainingState,
    *,
    step: int | None = None,
    best_step: int | None = None,
    settings: dict[str, Any] | None = None,
    keep: int = 2,
) -> None:
    """Save a checkpoint, prove that it reads back, delete those no longer needed.

    Collective: every rank must call it. Rank 0 writes; the others give their random
    states and wait for the verdict.

    Args:
        root: The run's checkpoint folder.
        state: What decides the next step.
        step: Optimizer steps trained, from the beginning of the run; None for
            `state.step`. It is set in `state`.
        best_step: The checkpoint of this step is never deleted; None for none.
        settings: The run's settings, as plain values, kept beside what they led to.
        keep: How many of the newest to keep besides the best.

    Raises:
        CheckpointError: A value cannot be saved so that it comes back equal, or it
            differs between ranks, so that saving rank 0's would lose the others'.
        OutputError: It could not be written. Both on every rank; older ones are intact.

    Note:
        Cost: two votes and one gather of some kilobytes a rank. 12 bytes on disk per
        parameter with AdamW (weights and two moments, float32), written once and read
        twice: to compare them with the state, and for their SHA-256.

    Examples:
        >>> import tempfile
        >>> import torch
        >>> net = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(folder, TrainingState(net, optimizer), step=3)
        ...     resumed = TrainingState(net, optimizer)
        ...     restore(folder, resumed)
        3
    """
    root = pathlib.Path(root)
    if step is not None:
        state.step = step
    with dist.raise_together():
        sections = state.collect()
        trees = {n: encoding.encode(sections[n], name=n) for n in SHARED_SECTIONS}
        digests = {n: _digest(tree) for n, (tree, _) in trees.items() if n != "extra"}
        for name, tree in trees["extra"][0].items():
            digests[f"extra[{name!r}]"] = _digest(tree)
    gathered = dist.gather_objects((digests, random_states()))
    _check_same_on_all_ranks([digests for digests, _ in gathered])
    with dist.raise_together():
        if not dist.current().is_main:
            return
        own = {"random": [states for _, states in gathered], "settings": settings}
        sections |= own
        trees |= {n: encoding.encode(own[n], name=n) for n in own}
        head = {"format": FORMAT, "step": state.step, "best_step": best_step}
        record = head | {name: tree for name, (tree, _) in trees.items()}
        with files.atomic_folder(root / _name(state.step)) as folder:
            for name, (_, tensors) in trees.items():
                if tensors:
                    path = folder / f"{name}.safetensors"
                    save_file(encoding.on_cpu(tensors), path)
            files.write_json(folder / "state.json", record)
            _prove(folder, sections, {name: own[1] for name, own in trees.items()})
            write_manifest(folder)
        newest = _folders(root)[:keep]
        for folder in _folders(root)[keep:]:
            is_best = best_step is not None and folder.name == _name(best_step)
            if not is_best and folder not in newest:
                # WHY not rmtree: a kill in its middle would leave half a checkpoint.
                files.remove_folder(folder)


def restore(root: pathlib.Path | str, state: TrainingState) -> int:
    """Go back to the newest intact checkpoint, if there is one.

    Collective: every rank must call it.

    Args:
        root: The run's checkpoint folder; it need not exist.
        state: Objects built like the saved ones; they take over the saved state.

    Returns:
        `state.step`: how many steps are trained. 0 without a checkpoint.

    Raises:
        CheckpointError: It does not fit. On every rank.

    Note:
        Cost: rank 0 reads the whole checkpoint once to verify it, then each rank reads
        it to load it.
    """
    newest = latest(root)
    if newest is not None:
        with dist.raise_together():
            load_training(newest, state)
    return state.step


def latest(root: pathlib.Path | str) -> pathlib.Path | None:
    """Find the newest intact checkpoint.

    Collective: every rank must call it. Rank 0 looks, all get its answer: ranks that
    looked for themselves could find different ones.

    Args:
        root: The run's checkpoint folder.

    Returns:
        Its folder; None if there is no intact one. Damaged ones are skipped, and a
        warning says which and why.

    Note:
        Cost: rank 0 reads the whole checkpoint once to verify it.
    """
    root = pathlib.Path(root)
    newest = None
    with dist.raise_together():
        if dist.current().is_main:
            files.remove_drafts(root)
        for folder in _folders(root) if dist.current().is_main else ():
            try:
                verify(folder)
            except CheckpointError as error:
                log.warning("skipping a damaged checkpoint: %s", error.what)
                continue
            newest = folder
            break
    return dist.broadcast_object(newest)


def load_training(folder: pathlib.Path, state: TrainingState) -> int:
    """Put a run back to where a checkpoint left it.

    Args:
        folder: What `latest` found.
        state: Objects built like the saved ones; they take over the saved state.

    Returns:
        `state.step`: how many steps are trained.

    Raises:
        CheckpointError: It does not fit these objects, did not come back equal, or was
            written by a newer version. On this rank only.

    Note:
        Random states come back bit for bit with the same number of ranks. With another
        number no rank has a predecessor; then dropout continues from the seed.
    """
    try:
        record = files.read_json(folder / "state.json")
        if _format_of(record) == 1:
            format1.restore(folder, record, state)
            return state.step
        state.step = format1.step_of(record)
        state.restore({
            name: _section(folder, record, name, copies=name in KEPT_SECTIONS)
            for name in SHARED_SECTIONS
        })
        restore_random(_section(folder, record, "random"))
    # WHY so many kinds: the file may come from anybody, and JSON can hold a list where
    # a table is expected. Its hashes only say that it is as its author left it.
    except (*MALFORMED, RuntimeError, OSError) as error:
        _raise_mismatch(folder, error)
    return state.step


def load_weights(folder: pathlib.Path, *, model: nn.Module) -> None:
    """Load only the weights of a checkpoint.

    Args:
        folder: A checkpoint.
        model: Built like the saved one, bare or wrapped; on any device.

    Raises:
        CheckpointError: They do not fit. On this rank only.
    """
    try:
        record = files.read_json(folder / "state.json")
        if _format_of(record) == 1:
            load_model(model, load_file(folder / "weights.safetensors"))
        else:
            load_model(model, _section(folder, record, "weights"))
    except (*MALFORMED, RuntimeError, OSError) as error:
        _raise_mismatch(folder, error)


def _section(
    folder: pathlib.Path, record: dict[str, Any], name: str, *, copies: bool = False
) -> Any:
    """One section of a checkpoint, as it was before it was encoded."""
    path = folder / f"{name}.safetensors"
    # WHY on the CPU first: loading straight onto "cuda:0", where rank 0 saved them,
    # would fill GPU 0 with the tensors of every rank.
    tensors = load_file(path, device="cpu") if path.exists() else {}
    if copies:
        tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    return encoding.decode(record[name], tensors)


def _prove(
    folder: pathlib.Path,
    sections: dict[str, Any],
    tensors: dict[str, encoding.Tensors],
) -> None:
    """Raise CheckpointError unless what was written reads back equal."""
    record = files.read_json(folder / "state.json")
    for name, wanted in sections.items():
        try:
            differs = _differing_tensor(folder, tensors[name], name=name)
            if differs is None:
                # WHY from the tensors in memory: those of the file are equal, byte by
                # byte, and a second copy of all of them would be the peak of a run.
                found = encoding.decode(record[name], tensors[name])
                differs = encoding.difference(wanted, found, name=name)
        except MALFORMED as error:
            differs = f"{name} cannot be read: {error}"
        if differs:
            raise CheckpointError(
                f"what was written does not read back equal: {differs}.",
                why="a run resumed from it would go on from other numbers.",
                fix="keep this value out of the state, or save it in another form; "
                "please report it: checkpoint.save should have refused it by name.",
                page="checkpoint",
            )


def _differing_tensor(
    folder: pathlib.Path, wanted: encoding.Tensors, *, name: str
) -> str | None:
    """Name the first tensor of a section that is not in its file as it is here."""
    path = folder / f"{name}.safetensors"
    keys = sorted(wanted, reverse=True)
    while keys:
        # WHY opened again and again: pages of the file that were looked at count as
        # this process's memory until it is closed.
        with safe_open(path, framework="pt") as file:
            if len(file.keys()) != len(wanted):
                return f"{name} had {len(wanted)} tensors, has {len(file.keys())}"
            num_bytes = 0
            while keys and num_bytes < BYTES_READ_AT_ONCE:
                key = keys.pop()
                found = file.get_tensor(key)
                num_bytes += found.nbytes
                differs = encoding.difference(wanted[key], found, name=f"{name}.{key}")
                if differs:
                    return differs
    return None


def _check_same_on_all_ranks(by_rank: list[dict[str, str]]) -> None:
    """Raise CheckpointError, on every rank, where plain values differ by rank."""
    differing = [
        name for name in by_rank[0] if len({digests[name] for digests in by_rank}) > 1
    ]
    if differing:
        raise CheckpointError(
            f"these parts of the state differ between ranks: {differing}.",
            why="rank 0 saves them for all, so the other ranks' values would be lost.",
            fix="give all ranks the same: a schedule or a counter must follow from a "
            "number that is summed over ranks (dist.sum_over_ranks), not from a rank's "
            "own loss.",
            page="checkpoint",
        )


def _digest(tree: Any) -> str:
    """A fingerprint of plain values; tensors count by their names only."""
    text = json.dumps(tree, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()


def _format_of(record: dict[str, Any]) -> int:
    """The format of a checkpoint; raises ValueError if it is newer than this code."""
    version = record.get("format", 1)
    if version not in (1, FORMAT):
        raise ValueError(
            f"it has format {version}, and this version of distrinews reads formats "
            f"1 and {FORMAT}"
        )
    return int(version)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _folders(root: pathlib.Path) -> list[pathlib.Path]:
    """Complete checkpoints, newest first; unfinished ones have other names."""
    return sorted(root.glob("step-*"), key=lambda folder: folder.name, reverse=True)


def _raise_mismatch(folder: pathlib.Path, error: Exception) -> NoReturn:
    """Say that a folder is intact but belongs to other objects."""
    raise CheckpointError(
        f"{folder} does not fit this run: {error}.",
        why="a run that went on from it would not be the one that was saved.",
        fix="build model, optimizer, schedule and sampler as in that run (its "
        "settings.json, if it has one, lists them).",
        page="checkpoint",
    ) from error
