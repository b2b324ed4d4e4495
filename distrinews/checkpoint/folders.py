"""Write checkpoints atomically, find the newest one, and load it.

Each section of a state is stored in `state.json` and, if it holds tensors, in a file
`SECTION.safetensors`. A manifest holds each file's SHA-256.

Not here: what a state holds (`distrinews.checkpoint.state`), the model folder for
serving (`distrinews.training.export`), the folders of runs
(`distrinews.training.runs`).

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
# Increased with each change that an older version could not read.
FORMAT = 2
# Errors that may occur when a malformed file is read as tensors and tables.
MALFORMED = (SafetensorError, LookupError, TypeError, ValueError, AttributeError)
BYTES_READ_AT_ONCE = 8 * 2**20
# Equal on every rank, so rank 0 saves them for all.
SHARED_SECTIONS = ("weights", "optimizer", "scheduler", "sampler", "extra", "fits")
# Copied when loaded: tensors from safetensors map their file. torch's optimizer and the
# user's objects keep the tensors that they get, and Windows cannot delete a mapped
# file: old checkpoints would stay. torch itself copies weights.
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
    """Save a checkpoint, check that it reads back, delete those no longer needed.

    Collective: every rank must call it. Rank 0 writes; the others contribute their
    random states and wait for the result.

    Args:
        root: The run's checkpoint folder.
        state: The objects that decide the next step.
        step: Optimizer steps trained since the beginning of the run; None for
            `state.step`. It is written to `state`.
        best_step: The checkpoint of this step is not deleted; None for no such step.
        settings: The run's settings, as plain values, kept with the checkpoint.
        keep: How many of the newest checkpoints to keep besides the best.

    Raises:
        CheckpointError: A value would not come back equal, or it differs between ranks,
            so saving rank 0's would lose the others'.
        OutputError: It could not be written. Both on every rank; older checkpoints stay
            intact.

    Note:
        Cost: two votes and one gather of some kilobytes per rank. With AdamW 12 bytes
        on disk per parameter (weights and two moments, float32), written once and read
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
                # Not rmtree: a kill during it would leave half a checkpoint.
                files.remove_folder(folder)


def restore(root: pathlib.Path | str, state: TrainingState) -> int:
    """Load the newest intact checkpoint, if there is one.

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

    Collective: every rank must call it. Rank 0 looks, and all get its answer, because
    ranks that looked separately could find different ones.

    Args:
        root: The run's checkpoint folder.

    Returns:
        Its folder; None if there is no intact one. Damaged checkpoints are skipped,
        with a warning that says which and why.

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
    """Restore a run from a checkpoint.

    Args:
        folder: The folder that `latest` found.
        state: Objects built like the saved ones; they take over the saved state.

    Returns:
        `state.step`: how many steps are trained.

    Raises:
        CheckpointError: It does not fit these objects, did not come back equal, or was
            written by a newer version. On this rank only.

    Note:
        With the same number of ranks, random states come back bit for bit. With another
        number there is no matching state for a rank, and dropout continues from the
        seed.
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
    # So many kinds, because the file may come from anyone, and JSON can hold a list
    # where a table is expected. Its hashes only show that it was not changed since.
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
    """One section of a checkpoint, decoded."""
    path = folder / f"{name}.safetensors"
    # On the CPU first: loading straight onto "cuda:0", where rank 0 saved them, would
    # fill GPU 0 with the tensors of every rank.
    tensors = load_file(path, device="cpu") if path.exists() else {}
    if copies:
        tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    return encoding.decode(record[name], tensors)


def _prove(
    folder: pathlib.Path,
    sections: dict[str, Any],
    tensors: dict[str, encoding.Tensors],
) -> None:
    """Raise CheckpointError unless the written files read back equal."""
    record = files.read_json(folder / "state.json")
    for name, wanted in sections.items():
        try:
            differs = _differing_tensor(folder, tensors[name], name=name)
            if differs is None:
                # From the tensors in memory: those of the file are equal, byte by byte,
                # and a second copy of all of them would be the run's peak memory.
                found = encoding.decode(record[name], tensors[name])
                differs = encoding.difference(wanted, found, name=name)
        except MALFORMED as error:
            differs = f"{name} cannot be read: {error}"
        if differs:
            raise CheckpointError(
                f"what was written does not read back equal: {differs}.",
                why="a run resumed from it would continue from other numbers.",
                fix="keep this value out of the state, or save it in another form; "
                "please report it: checkpoint.save should have refused it by name.",
                page="checkpoint",
            )


def _differing_tensor(
    folder: pathlib.Path, wanted: encoding.Tensors, *, name: str
) -> str | None:
    """Name the first tensor of a section that differs from the one in its file."""
    path = folder / f"{name}.safetensors"
    keys = sorted(wanted, reverse=True)
    while keys:
        # Opened repeatedly, because pages of the file that were read count as this
        # process's memory until it is closed.
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
    """Raise CheckpointError, on every rank, if plain values differ between ranks."""
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
    """A hash of plain values; of tensors it includes only the names."""
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
    """Raise the error for a folder that is intact but belongs to other objects."""
    raise CheckpointError(
        f"{folder} does not fit this run: {error}.",
        why="a run that continued from it would not be the one that was saved.",
        fix="build model, optimizer, schedule and sampler as in that run (its "
        "settings.json, if it has one, lists them).",
        page="checkpoint",
    ) from error
