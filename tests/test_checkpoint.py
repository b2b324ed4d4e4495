"""Proofs for distrinews.checkpoint: going on is the same as never having stopped."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.like_windows import sitecustomize as windows
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from distrinews import checkpoint, dist, model, sharding, training
from distrinews.config.settings import TrainSettings
from distrinews.errors import CheckpointError, OutputError
from distrinews.system import files

ALONE = dist.Ranks(0, local_rank=0, world_size=1, device=torch.device("cpu"))
STEPS_BEFORE, STEPS_AFTER = 3, 4
SETTINGS = TrainSettings(preset="tiny", dropout=0.2, epochs=2, seed=5)
PLAN = training.Plan(steps_per_epoch=5, num_steps=10, last_step=10)

pytestmark = pytest.mark.timeout(120)


class Trainer:
    """Tiny with dropout, AdamW and a schedule: everything that has a state."""

    def __init__(self, ranks: dist.Ranks, *, width: int = 30) -> None:
        self.ranks = ranks
        training.seed_weights(SETTINGS.seed)
        self.net = model.build("tiny", dropout=0.2, vocabulary_size=width).train()
        training.seed_dropout(SETTINGS.seed, ranks=ranks)
        self.replica: nn.Module = self.net
        if ranks.world_size > 1:
            self.replica = DistributedDataParallel(self.net)
        self.optimizer: Optimizer = training.build_optimizer(
            self.net, settings=SETTINGS
        )
        self.scheduler: LRScheduler = training.build_scheduler(
            self.optimizer, settings=SETTINGS, plan=PLAN
        )

    def train(self, steps: range) -> None:
        for step in steps:
            generator = torch.Generator().manual_seed(1000 * step + self.ranks.rank)
            ids = torch.randint(0, 30, (4, 6), generator=generator)
            labels = torch.randint(0, 4, (4,), generator=generator)
            loss = F.cross_entropy(self.replica(input_ids=ids).logits, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()

    def save(self, root: Path, *, step: int, best_step: int = 0, keep: int = 2) -> None:
        progress = {"step": step, "best_step": best_step, "best_accuracy": 0.1 + 0.2}
        checkpoint.save(root, self.training_state(), progress=progress, keep=keep)

    def training_state(self) -> checkpoint.TrainingState:
        return checkpoint.TrainingState(self.net, self.optimizer, self.scheduler)

    def everything(self) -> torch.Tensor:
        """Weights, AdamW's moments, learning rate and the next random number."""
        moments = [
            entry[name].flatten().double()
            for _, entry in sorted(self.optimizer.state_dict()["state"].items())
            for name in ("step", "exp_avg", "exp_avg_sq")
        ]
        weights = [param.detach().flatten().double() for param in self.net.parameters()]
        learning_rate = torch.tensor(
            [self.scheduler.get_last_lr()[0]], dtype=torch.float64
        )
        rng_state = torch.get_rng_state().double()
        return torch.cat([*weights, *moments, learning_rate, rng_state])


AFTER = range(STEPS_BEFORE, STEPS_BEFORE + STEPS_AFTER)


def stop_and_go_on(ranks: dist.Ranks, out: Path) -> None:
    """Train; save in the middle; go on; go on again from what was saved."""
    root = out / "checkpoints"
    trainer = Trainer(ranks)
    trainer.train(range(STEPS_BEFORE))
    trainer.save(root, step=STEPS_BEFORE)
    trainer.train(AFTER)
    expected = trainer.everything()

    resumed = Trainer(ranks)
    resumed.train(range(1))  # it has been somewhere else: all of it must come back
    newest = checkpoint.latest(root)
    progress = checkpoint.load_training(newest, resumed.training_state())  # type: ignore[arg-type]
    resumed.train(AFTER)
    got, random_numbers = resumed.everything(), torch.rand(3)

    # Negative controls: one part of the state is left out.
    without_rng = Trainer(ranks)
    checkpoint.load_training(newest, without_rng.training_state())  # type: ignore[arg-type]
    training.seed_dropout(SETTINGS.seed, ranks=ranks)
    without_rng.train(AFTER)
    without_optimizer = Trainer(ranks)
    fresh_optimizer = training.build_optimizer(without_optimizer.net, settings=SETTINGS)
    training_state = dataclasses.replace(
        without_optimizer.training_state(), optimizer=fresh_optimizer
    )
    checkpoint.load_training(newest, training_state)  # type: ignore[arg-type]
    without_optimizer.train(AFTER)
    torch.save(
        {
            "want": expected,
            "got": got,
            "no_noise": without_rng.everything(),
            "no_optimizer": without_optimizer.everything(),
            "state": progress,
            "random": random_numbers,
        },
        out / f"{ranks.rank}.pt",
    )


@pytest.fixture(scope="module", params=[1, 2])
def results(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("told")
    dist.launch(stop_and_go_on, out, num_ranks=request.param, timeout_s=60)
    return [torch.load(out / f"{rank}.pt") for rank in range(request.param)]


def test_a_run_that_was_stopped_goes_on_bit_for_bit(
    results: list[dict[str, Any]],
) -> None:
    for result in results:
        assert result["want"].dtype == torch.float64  # holds float32 and bytes exactly
        assert torch.equal(result["want"], result["got"])
        state = {"step": 3, "best_step": 0, "best_accuracy": 0.1 + 0.2}
        assert result["state"] == state


def test_without_random_state_or_optimizer_it_is_another_run(
    results: list[dict[str, Any]],
) -> None:
    """Negative control: both decide the next step."""
    for result in results:
        assert not torch.equal(result["want"], result["no_noise"])
        assert not torch.equal(result["want"], result["no_optimizer"])


def test_each_rank_gets_its_own_random_state_back(
    results: list[dict[str, Any]],
) -> None:
    """Not rank 0's: then all replicas would drop the same neurons from here on."""
    numbers = {tuple(result["random"].tolist()) for result in results}
    assert len(numbers) == len(results)


# --- What is on the disk --------------------------------------------------------


@pytest.fixture
def trainer() -> Trainer:
    made = Trainer(ALONE)
    made.train(range(1))
    return made


def names(root: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in root.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="the rule is imitated on Linux")
def test_after_a_resume_windows_could_remove_the_checkpoint(tmp_path: Path) -> None:
    alone = dist.current()
    trainer = Trainer(alone)
    trainer.train(range(1))
    trainer.save(tmp_path, step=1)
    [folder] = tmp_path.glob("step-*")
    resumed = Trainer(alone)
    checkpoint.load_training(folder, resumed.training_state())
    in_use = {file.name for file in folder.iterdir() if windows.is_in_use(file)}
    assert in_use == set()
    # Negative control: as safetensors gives them, the moments map the file.
    moments = load_file(folder / "optimizer.safetensors")
    assert moments
    assert windows.is_in_use(folder / "optimizer.safetensors")


def test_there_is_no_pickle_in_a_checkpoint_and_no_wrapper_in_its_names(
    trainer: Trainer, tmp_path: Path
) -> None:
    trainer.save(tmp_path, step=7)
    [folder] = tmp_path.iterdir()
    kinds = {path.name: path.suffix for path in folder.iterdir()}
    assert sorted(kinds) == [
        "manifest.json",
        "optimizer.safetensors",
        "random.safetensors",
        "state.json",
        "weights.safetensors",
    ]
    # safetensors' own layout, read by hand: 8 bytes of length, then JSON.
    raw = (folder / "weights.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    header.pop("__metadata__", None)
    assert header.keys() == trainer.net.state_dict().keys()
    assert not any(name.startswith("module.") for name in header)
    wrapped = nn.DataParallel(trainer.net).state_dict()  # negative control
    assert all(name.startswith("module.") for name in wrapped)


# As written by version 0.1.0 before the library had rooms (commit dae6371).
KEYS = {"optimizer", "scheduler", "sampler", "settings", "run"}
SAMPLER_KEYS = {
    *("kind", "num_rows", "global_batch_size", "seed", "pool_batches", "drop_last"),
    *("epoch", "consumed_rows"),
}


def test_a_checkpoint_has_the_keys_that_older_ones_have(tmp_path: Path) -> None:
    """A checkpoint made before a renaming must resume after it."""
    trainer = Trainer(ALONE)
    trainer.train(range(1))
    sampler = sharding.LengthBalancedBatchSampler(
        [3, 5] * 8, ALONE, global_batch_size=4, seed=0
    )
    state = dataclasses.replace(trainer.training_state(), sampler=sampler)
    checkpoint.save(tmp_path, state, progress={"step": 1, "best_step": 0})
    [folder] = tmp_path.glob("step-*")
    record = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    assert set(record) == KEYS
    assert set(record["optimizer"]) == {"param_groups", "state"}
    assert set(record["sampler"]) == SAMPLER_KEYS
    assert record["run"] == {"step": 1, "best_step": 0}
    assert set(load_file(folder / "random.safetensors")) == {"cpu.0"}
    moments = set(load_file(folder / "optimizer.safetensors"))
    assert {"0.step", "0.exp_avg", "0.exp_avg_sq"} <= moments


def test_a_checkpoint_with_another_key_is_refused(tmp_path: Path) -> None:
    """Negative control: a renamed key would not go unnoticed."""
    trainer = Trainer(ALONE)
    trainer.save(tmp_path, step=1)
    [folder] = tmp_path.glob("step-*")
    text = (folder / "state.json").read_text(encoding="utf-8")
    (folder / "state.json").write_text(text.replace('"run":', '"progress":'), "utf-8")
    with pytest.raises(CheckpointError, match="does not fit this run"):
        checkpoint.load_training(folder, trainer.training_state())


@pytest.mark.parametrize(
    ("keep", "best", "want"),
    [(2, 30, [30, 40, 50]), (2, 50, [40, 50]), (1, 10, [10, 50]), (3, 0, [30, 40, 50])],
)
def test_the_newest_and_the_best_are_kept(
    trainer: Trainer, tmp_path: Path, keep: int, best: int, want: list[int]
) -> None:
    for step in (10, 20, 30, 40, 50):
        # The best step as it was known at that time.
        known = step if step <= best else best
        trainer.save(tmp_path, step=step, best_step=known, keep=keep)
    assert names(tmp_path) == want


def truncate(folder: Path) -> None:
    file = folder / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def flip_a_bit(folder: Path) -> None:
    file = folder / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def lose_a_file(folder: Path) -> None:
    (folder / "random.safetensors").unlink()


def lose_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def cut_the_manifest(folder: Path) -> None:
    file = folder / "manifest.json"
    file.write_text(file.read_text(encoding="utf-8")[:-20], encoding="utf-8")


def add_a_file(folder: Path) -> None:
    (folder / "sitecustomize.py").write_text("print('run me')", encoding="utf-8")


def change_manifest(change: Callable[[dict[str, Any]], object]) -> Any:
    def damage(folder: Path) -> None:
        file = folder / "manifest.json"
        manifest = json.loads(file.read_text(encoding="utf-8"))
        change(manifest)
        file.write_text(json.dumps(manifest), encoding="utf-8")

    return damage


def list_a_foreign_file(folder: Path) -> None:
    """A manifest that vouches for a file outside, size and SHA-256 included."""
    outside = folder.parent.parent / "outside.json"
    outside.write_text("{}", encoding="utf-8")
    entry = {"bytes": 2, "sha256": files.sha256(outside)}
    for name in ("../../outside.json", str(outside)):
        change_manifest(lambda m, name=name: m["files"].update({name: entry}))(folder)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": truncate,
    "bit flipped": flip_a_bit,
    "file lost": lose_a_file,
    "manifest lost": lose_the_manifest,
    "manifest cut": cut_the_manifest,
    "file added": add_a_file,
    "path outside": list_a_foreign_file,
    "nothing listed": change_manifest(lambda m: m.update(files={})),
    "other format": change_manifest(lambda m: m.update(format=2)),
    "no files": change_manifest(lambda m: m.pop("files")),
    "a list": change_manifest(lambda m: m.update(files=["weights.safetensors"])),
    "no size": change_manifest(lambda m: m["files"]["state.json"].pop("bytes")),
    "endless size": change_manifest(
        lambda m: m["files"]["state.json"].update(bytes=float("inf"))
    ),
    "name of a folder": change_manifest(
        lambda m: m["files"].update({"..": {"bytes": 0, "sha256": ""}})
    ),
    "name with NUL": change_manifest(
        lambda m: m["files"].update({"a\0b": {"bytes": 0, "sha256": ""}})
    ),
}


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run") / "checkpoints"
    made = Trainer(ALONE)
    made.train(range(1))
    made.save(root, step=4)
    made.save(root, step=10)
    return root


def test_the_newest_checkpoint_is_found(two_checkpoints: Path) -> None:
    """Negative control for the damages below; and by number, not as text."""
    assert checkpoint.latest(two_checkpoints) == two_checkpoints / "step-00000010"
    assert checkpoint.latest(two_checkpoints / "nowhere") is None


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    two_checkpoints: Path,
    damage: Callable[[Path], None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = tmp_path / "run" / "checkpoints"
    shutil.copytree(two_checkpoints, root)
    damage(root / "step-00000010")
    with pytest.raises(CheckpointError, match="step-00000010 is damaged"):
        checkpoint.verify(root / "step-00000010")
    with caplog.at_level(logging.WARNING):
        assert checkpoint.latest(root) == root / "step-00000004"
    [record] = caplog.records
    assert "step-00000010 is damaged" in record.getMessage()


def test_an_unfinished_draft_and_a_stray_file_are_no_checkpoints(
    two_checkpoints: Path, tmp_path: Path
) -> None:
    root = tmp_path / "checkpoints"
    shutil.copytree(two_checkpoints, root)
    shutil.copytree(root / "step-00000010", root / ".step-00000020.1a2b3c4d")
    (root / "notes.txt").write_text("mine", encoding="utf-8")
    assert checkpoint.latest(root) == root / "step-00000010"


def test_a_checkpoint_of_another_model_is_an_error_that_says_so(
    two_checkpoints: Path,
) -> None:
    wider = Trainer(ALONE, width=31)
    with pytest.raises(CheckpointError, match=r"does not fit[\s\S]*settings.json"):
        checkpoint.load_training(
            two_checkpoints / "step-00000010", wider.training_state()
        )


def test_an_optimizer_with_other_groups_is_an_error_that_says_so(
    two_checkpoints: Path,
) -> None:
    made = Trainer(ALONE)
    one_weight = torch.optim.AdamW(list(made.net.parameters())[:1])
    parts = dataclasses.replace(made.training_state(), optimizer=one_weight)
    with pytest.raises(CheckpointError, match="does not fit"):
        checkpoint.load_training(two_checkpoints / "step-00000010", parts)


def test_with_another_number_of_ranks_dropout_goes_on_from_the_seed(
    two_checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Trainer(ALONE)
    before = torch.get_rng_state()
    second_rank = dist.Ranks(1, local_rank=1, world_size=2, device=ALONE.device)
    monkeypatch.setattr(dist, "current", lambda: second_rank)
    checkpoint.load_training(two_checkpoints / "step-00000010", made.training_state())
    assert torch.equal(torch.get_rng_state(), before)
    monkeypatch.undo()  # negative control: alone, as it was saved
    checkpoint.load_training(two_checkpoints / "step-00000010", made.training_state())
    assert not torch.equal(torch.get_rng_state(), before)


def test_a_save_that_fails_leaves_the_older_ones_and_no_draft(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.save(tmp_path, step=1)
    trainer.save(tmp_path, step=2)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_manifest", full)
    with pytest.raises(OutputError, match="No space left"):
        trainer.save(tmp_path, step=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "step-00000001",
        "step-00000002",
    ]
    assert checkpoint.latest(tmp_path) == tmp_path / "step-00000002"
