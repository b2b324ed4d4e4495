"""Proof that no damage to a checkpoint goes unnoticed or ends in a riddle.

Five hundred damaged checkpoints: those that an accident makes (cut off, bits flipped,
files missing, exchanged) are skipped for the one before; those that somebody made (the
manifest fits, the content does not) are refused by an error that names the folder.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from distrinews import checkpoint
from distrinews.errors import CheckpointError

FILES = (
    "weights.safetensors",
    "optimizer.safetensors",
    "random.safetensors",
    "state.json",
    "manifest.json",
)
NUM_ACCIDENTS, NUM_FORGERIES = 400, 100


def new_state(width: int = 3) -> checkpoint.TrainingState:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(width, 4), nn.Linear(4, 2))
    optimizer = AdamW(net.parameters(), lr=0.1)
    return checkpoint.TrainingState(
        net, optimizer, LambdaLR(optimizer, lambda step: 1.0)
    )


def two_checkpoints(root: Path) -> None:
    training_state = new_state()
    for step in (1, 2):
        training_state.model(torch.ones(1, 3)).sum().backward()
        training_state.optimizer.step()
        assert training_state.scheduler is not None
        training_state.scheduler.step()
        checkpoint.save(root, training_state, step=step, best_step=1)


# --- Accidents ------------------------------------------------------------------


def cut_off(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(FILES)
    size = path.stat().st_size
    # All but the manifest's last line break: JSON without it is the same.
    path.write_bytes(path.read_bytes()[: rng.randrange(size - 1)])


def flip_a_bit(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(FILES[:-1])
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def flip_a_bit_of_the_manifest(folder: Path, rng: random.Random) -> None:
    path = folder / "manifest.json"
    content = bytearray(path.read_bytes())
    # A digit of a hash, a size or a name. Blanks between them mean nothing.
    positions = [i for i, byte in enumerate(content) if chr(byte).isalnum()]
    content[rng.choice(positions)] ^= 1
    path.write_bytes(content)


def zeros(folder: Path, rng: random.Random) -> None:
    """What some file systems leave after a power failure."""
    path = folder / rng.choice(FILES)
    path.write_bytes(bytes(path.stat().st_size))


def lose(folder: Path, rng: random.Random) -> None:
    (folder / rng.choice(FILES)).unlink()


def add(folder: Path, rng: random.Random) -> None:
    (folder / f"{rng.randrange(10**6)}.safetensors").write_bytes(rng.randbytes(9))


def exchange(folder: Path, rng: random.Random) -> None:
    first, second = rng.sample(FILES, 2)
    contents = (folder / first).read_bytes(), (folder / second).read_bytes()
    (folder / second).write_bytes(contents[0])
    (folder / first).write_bytes(contents[1])


def mix(folder: Path, rng: random.Random) -> None:
    """A file of the checkpoint before."""
    name = rng.choice(("weights.safetensors", "optimizer.safetensors", "state.json"))
    shutil.copy(folder.with_name("step-00000001") / name, folder / name)


def folder_for_file(folder: Path, rng: random.Random) -> None:
    path = folder / rng.choice(FILES)
    path.unlink()
    path.mkdir()


def path_trick(folder: Path, rng: random.Random) -> None:
    """A manifest that names a file elsewhere, with its true size and hash."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    outside = folder.with_name("step-00000001").resolve() / "state.json"
    name = rng.choice(FILES[:-1])
    manifest["files"].pop(name)
    (folder / name).unlink()
    trick = rng.choice([
        "../step-00000001/state.json",
        str(outside),
        "./../step-00000001/state.json",
        f"{name}/../../step-00000001/state.json",
        "..\\step-00000001\\state.json",
        "",
        ".",
        "..",
        "state.json\0",
        "x" * 5000,
    ])
    true = json.loads((outside.parent / "manifest.json").read_text("utf-8"))
    manifest["files"][trick] = true["files"]["state.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")


ACCIDENTS = [
    *(cut_off, flip_a_bit, flip_a_bit_of_the_manifest, zeros, lose, add, exchange),
    *(mix, folder_for_file, path_trick),
]


def test_400_accidents_are_noticed_and_the_checkpoint_before_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two_checkpoints(tmp_path / "good")
    for number in range(NUM_ACCIDENTS):
        rng = random.Random(number)
        damage = ACCIDENTS[number % len(ACCIDENTS)]
        root = shutil.copytree(tmp_path / "good", tmp_path / "damaged")
        damage(root / "step-00000002", rng)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = checkpoint.latest(root)
        assert found == root / "step-00000001", (number, damage.__name__)
        assert "step-00000002 is damaged" in caplog.text, (number, damage.__name__)
        assert checkpoint.load_training(found, new_state()) == 1
        shutil.rmtree(root)


def test_undamaged_the_newest_is_taken(tmp_path: Path) -> None:
    """Negative control: it is the damage that is noticed."""
    two_checkpoints(tmp_path)
    found = checkpoint.latest(tmp_path)
    assert found == tmp_path / "step-00000002"
    assert checkpoint.load_training(found, new_state()) == 2


# --- Forgeries: the manifest fits -----------------------------------------------


def tensors(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / f"{name}.safetensors"
    content = load_file(path)
    change(content)
    save_file({k: t.contiguous() for k, t in content.items()}, path)


def state(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "state.json"
    content = json.loads(path.read_text("utf-8"))
    changed = change(content)
    path.write_text(json.dumps(content if changed is None else changed), "utf-8")


def any_key(content: dict[str, Any], rng: random.Random) -> str:
    return rng.choice(sorted(content))


def other_shape(folder: Path, rng: random.Random) -> None:
    def change(content: dict[str, Any]) -> None:
        content[any_key(content, rng)] = torch.zeros(5, 7)

    tensors(folder, rng.choice(("weights", "optimizer")), change)


def other_name(folder: Path, rng: random.Random) -> None:
    def change(content: dict[str, Any]) -> None:
        content["module." + any_key(content, rng)] = content.pop(any_key(content, rng))

    tensors(folder, rng.choice(("weights", "optimizer")), change)


def parameter_too_many(folder: Path, rng: random.Random) -> None:
    def change(content: dict[str, Any]) -> None:
        content[f"state.{rng.randrange(4, 99)}.exp_avg"] = torch.zeros(2)

    tensors(folder, "optimizer", change)


def no_tensors(folder: Path, rng: random.Random) -> None:
    name = f"{rng.choice(('weights', 'optimizer', 'random'))}.safetensors"
    header = rng.choice([b"", b"\0" * 8, b"\xff" * 8 + b"{}", rng.randbytes(40)])
    (folder / name).write_bytes(header)


def short_noise(folder: Path, rng: random.Random) -> None:
    size = rng.randrange(1, 100)
    tensors(
        folder,
        "random",
        lambda content: content.update({
            "0.torch": torch.zeros(size, dtype=torch.uint8)
        }),
    )


def no_json(folder: Path, rng: random.Random) -> None:
    text = rng.choice([
        "",
        "[]",
        "7",
        "null",
        "{}",
        "[" * 99_999,
        '{"run": NaN}',
        "\0",
    ])
    (folder / "state.json").write_text(text, "utf-8")


def part_missing(folder: Path, rng: random.Random) -> None:
    names = ("weights", "optimizer", "scheduler", "sampler", "extra", "fits", "random")
    state(folder, lambda content: content.pop(rng.choice(names)) and None)


def part_of_another_kind(folder: Path, rng: random.Random) -> None:
    name = rng.choice(("weights", "optimizer", "scheduler", "sampler", "fits", "step"))
    value = rng.choice([-7, [], "x", [1, 2], {"state": []}, {"~": 1}])
    state(folder, lambda content: content.update({name: value}))


def no_step(folder: Path, rng: random.Random) -> None:
    value = rng.choice([-1, "2", None, 2.5, True, [2]])
    state(folder, lambda content: content.update({"step": value}))


def other_schedule(folder: Path, rng: random.Random) -> None:
    value = rng.choice(["x", None, [], {}])
    name = rng.choice(("last_epoch", "_step_count"))
    state(folder, lambda content: content["scheduler"].update({name: value}))


FORGERIES = [
    *(other_shape, other_name, parameter_too_many, no_tensors, short_noise, no_json),
    *(part_missing, part_of_another_kind, no_step, other_schedule),
]


def test_100_forgeries_are_refused_by_an_error_that_names_the_folder(
    tmp_path: Path,
) -> None:
    two_checkpoints(tmp_path / "good")
    for number in range(NUM_FORGERIES):
        forge = FORGERIES[number % len(FORGERIES)]
        root = shutil.copytree(tmp_path / "good", tmp_path / "forged")
        folder = root / "step-00000002"
        forge(folder, random.Random(number))
        (folder / "manifest.json").unlink()
        checkpoint.write_manifest(folder)
        assert checkpoint.latest(root) == folder  # its hashes are right
        try:
            with pytest.raises(CheckpointError, match=r"step-00000002 does not fit"):
                checkpoint.load_training(folder, new_state())
        except BaseException:
            print("forgery", number, forge.__name__)
            raise
        shutil.rmtree(root)


def test_there_are_five_hundred_of_them() -> None:
    assert NUM_ACCIDENTS + NUM_FORGERIES >= 500
    assert NUM_ACCIDENTS % len(ACCIDENTS) == NUM_FORGERIES % len(FORGERIES) == 0
