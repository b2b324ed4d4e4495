"""Proofs that a run which was broken off goes on as if nothing had happened."""

from __future__ import annotations

import functools
import json
import pathlib
import shutil
import sys

import pytest
import torch
from helpers import chapters
from helpers.chapters import CHAPTER_05, LONG, SMALL, TORCHRUN, Done
from safetensors.torch import load_file

from distrinews import checkpoint
from distrinews.config.flags import parse
from distrinews.config.settings import DistributedSettings
from distrinews.errors import SettingsError

PLAIN_SGD = ("--optimizer", "sgd", "--learning-rate", "0.5", "--dropout", "0")
posix_only = pytest.mark.skipif(
    sys.platform == "win32", reason="SIGKILL does not exist on Windows"
)


@functools.cache
def stopped() -> Done:
    """Stopped after 20 of 36 steps: two steps into the second epoch.

    WHY with torchrun where there is one: the same run proves that its ranks compute
    what the launcher's do.
    """
    words: tuple[object, ...] = (CHAPTER_05, *SMALL, "--max-steps", "20")
    if sys.platform == "linux":
        words = (*TORCHRUN, "--standalone", "--nproc_per_node=2", *words)
    return chapters.run(*words)


def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit_with_dropout() -> None:
    first = stopped()
    assert first.result["steps"] == 20
    name = chapters.copy_of(first)
    done = chapters.run(CHAPTER_05, *SMALL, "--resume", name=name)
    assert f"resuming {done.run_folder} after step 20" in done.out
    assert done.result["steps"] == 36
    assert done.result["rows_trained"] == 16 * 32  # only what was left
    assert done.left == []
    chapters.same_training_state(done.run_folder, chapters.small_run().run_folder)


def test_before_the_resume_the_stopped_run_was_another_one() -> None:
    """Negative control: it is the 16 steps that make them equal."""
    with pytest.raises(AssertionError):
        chapters.same_training_state(
            stopped().run_folder, chapters.small_run().run_folder
        )


@pytest.mark.slow
@pytest.mark.parametrize(("num_ranks", "accumulation_steps"), [(3, 2), (4, 1)])
def test_with_three_and_four_ranks_too_a_resumed_run_ends_with_the_same_bits(
    num_ranks: int, accumulation_steps: int
) -> None:
    """The negative control, without the discarded step, is in test_discarded.py."""
    words = (CHAPTER_05, *SMALL, "--global-batch-size", 24, "--epochs", 1)
    words = (*words, "--num-ranks", num_ranks)
    words = (*words, "--accumulation-steps", accumulation_steps)
    whole = chapters.run(*words, "--max-steps", 10)
    parts = chapters.run(*words, "--max-steps", 5)
    again = chapters.run(
        *words, "--max-steps", 10, "--resume", name=parts.run_folder.name
    )
    assert "after step 5" in again.out
    chapters.same_training_state(again.run_folder, whole.run_folder)


@posix_only
@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_and_ends_bit_for_bit_the_same() -> None:
    program, folder = chapters.start(CHAPTER_05, *LONG)
    chapters.follow(program, (folder / "checkpoints" / "step-00000018").exists)
    program.kill_everything()
    assert not (folder / "result.json").exists()
    done = chapters.run(CHAPTER_05, *LONG, "--resume", name=folder.name)
    assert "after step 0" not in done.out
    chapters.same_training_state(folder, chapters.long_run().run_folder)


@pytest.mark.slow
def test_a_finished_run_can_be_resumed_and_gives_its_result_again() -> None:
    before = chapters.small_run()
    name = chapters.copy_of(before)
    done = chapters.run(CHAPTER_05, *SMALL, "--resume", name=name)
    for key in ("accuracy", "confusion_matrix", "steps", "best_step", "headlines"):
        assert done.result[key] == before.result[key]
    assert done.result["rows_trained"] == 0
    assert done.result["samples_per_s"] in (None, 0.0)


def damage(file: pathlib.Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    file.write_bytes(content)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken() -> None:
    name = chapters.copy_of(chapters.small_run(), without_result=True)
    root = chapters.small_run().run_folder.with_name(name) / "checkpoints"
    damage(root / "step-00000036" / "weights.safetensors")
    done = chapters.run(CHAPTER_05, *SMALL, "--resume", "--num-ranks", "1", name=name)
    assert "after step 18" in done.out
    assert "step-00000036 is damaged: weights.safetensors has another content" in (
        done.err
    ), str(done)
    assert done.result["rows_trained"] == 18 * 32
    for folder in root.iterdir():
        checkpoint.verify(folder)  # the damaged one was replaced
    # Without dropout's noise this would be the same model as on two ranks: see below.
    assert done.result["num_ranks"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("num_ranks", ["1", "4"])
def test_resumed_with_another_number_of_ranks_a_run_takes_the_same_data(
    num_ranks: str,
) -> None:
    whole = chapters.small_run(*PLAIN_SGD, "--num-ranks", "2")
    name = chapters.copy_of(whole, without_result=True)
    shutil.rmtree(whole.run_folder.with_name(name) / "checkpoints" / "step-00000036")
    words = (*SMALL, *PLAIN_SGD, "--resume", "--num-ranks", num_ranks)
    done = chapters.run(CHAPTER_05, *words, name=name)
    assert "after step 18" in done.out
    assert len(done.result["peak_memory_bytes"]) == int(num_ranks)
    want = chapters.weights(whole.run_folder)
    for key, tensor in chapters.weights(done.run_folder).items():
        # WHY a tolerance: the sum over another number of ranks rounds differently.
        torch.testing.assert_close(tensor, want[key], rtol=0, atol=1e-5)
    checkpoint_18 = whole.run_folder / "checkpoints" / "step-00000018"
    old = load_file(checkpoint_18 / "weights.safetensors")
    gap = max(float((old[key] - want[key]).abs().max()) for key in want)
    assert gap > 1e-3  # negative control: 18 steps do move the weights


# --- Refused --------------------------------------------------------------------


def test_other_settings_than_the_runs_own_are_refused_by_name() -> None:
    before = chapters.fingerprint(stopped().run_folder)
    done = chapters.run_warm(
        *(CHAPTER_05, *SMALL, "--resume", "--seed", "1", "--epochs", "3"),
        name=stopped().run_folder.name,
        expect=2,
    )
    assert "epochs was 2, now 3; seed was 0, now 1" in done.err
    assert chapters.fingerprint(stopped().run_folder) == before


def test_a_run_that_does_not_exist_is_not_resumed() -> None:
    done = chapters.run_warm(
        CHAPTER_05, *SMALL, "--resume", name="no-such-run", expect=2
    )
    assert "there is no run" in done.err
    assert not done.run_folder.exists()


def test_an_existing_run_is_refused_and_nothing_in_it_changes() -> None:
    before = chapters.fingerprint(stopped().run_folder)
    assert any("weights" in name for name in before)
    name = stopped().run_folder.name
    done = chapters.run_warm(CHAPTER_05, *SMALL, name=name, expect=2)
    assert "exists already" in done.err
    assert "--resume" in done.err
    assert chapters.fingerprint(stopped().run_folder) == before


def test_the_fingerprint_notices_a_change() -> None:
    """Negative control to "nothing changes"."""
    folder = chapters.workspace() / "fingerprint"
    folder.mkdir()
    (folder / "a").write_text("1", encoding="utf-8")
    before = chapters.fingerprint(folder)
    (folder / "a").write_text("2", encoding="utf-8")
    assert chapters.fingerprint(folder) != before


def test_resume_without_a_name_says_that_it_needs_one() -> None:
    with pytest.raises(SettingsError, match="needs the --run-name"):
        parse(DistributedSettings, about="", arguments=["--resume"])


def test_settings_are_saved_before_training_so_that_a_killed_run_can_be_compared() -> (
    None
):
    saved = json.loads(
        (stopped().run_folder / "settings.json").read_text(encoding="utf-8")
    )
    assert saved["epochs"] == 2
    assert saved["run_name"] == stopped().run_folder.name
