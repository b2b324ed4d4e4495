"""Proofs for chapters 01 and 05: what a reader types, and what they find afterwards."""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import re
import subprocess
import sys

import psutil
import pytest
import torch
from helpers import chapters
from helpers.chapters import CHAPTER_01, CHAPTER_05, LONG, ROOT, SMALL, TORCHRUN, Done
from helpers.running import Program, like_windows

from distrinews import checkpoint
from distrinews.config.settings import DistributedSettings
from distrinews.data.labels import LABEL_NAMES
from distrinews.training import report

CHAPTERS = sorted((ROOT / "chapters").glob("[0-9]*.py"))
torchrun_only = pytest.mark.skipif(
    sys.platform != "linux", reason="torchrun is this course's launcher on Linux only"
)
PLAIN_SGD = ("--optimizer", "sgd", "--learning-rate", "0.5", "--dropout", "0")
# What Linux can imitate of Windows; the test adds umlauts, blanks and a long path.
WINDOWS = {**like_windows(), "MASTER_ADDR": None, "MASTER_PORT": None}


@functools.cache
def chapter_01() -> Done:
    return chapters.run(CHAPTER_01, *SMALL)


@functools.cache
def alone() -> Done:
    return chapters.small_run("--num-ranks", "1")


@pytest.fixture(params=["chapter_01", "chapter_05"])
def done(request: pytest.FixtureRequest) -> Done:
    return chapter_01() if request.param == "chapter_01" else chapters.small_run()


def bars(done: Done) -> int:
    """Lines on stderr that show a training bar."""
    return sum("train: " in line for line in done.err.split("\n"))


# --- What a run leaves ----------------------------------------------------------


def test_a_run_ends_well_and_leaves_no_process(done: Done) -> None:
    assert done.code == 0, str(done)
    assert done.left == []
    assert "Traceback" not in done.err, str(done)


def test_the_last_line_of_stdout_is_the_path_of_the_result(done: Done) -> None:
    last = pathlib.Path(done.out.splitlines()[-1])
    assert last == done.run_folder / "result.json"
    json.loads(last.read_text(encoding="utf-8"))


def test_the_result_holds_every_figure_and_they_fit_together(done: Done) -> None:
    result = done.result
    phases = {"start", "data", "model", "train", "validation", "checkpoint", "test"}
    assert phases | {"export", "predict", "total"} <= result["seconds"].keys()
    parts = sum(s for name, s in result["seconds"].items() if name != "total")
    # The program's own clock: no phase is counted twice, none is invented.
    assert parts <= result["seconds"]["total"] <= done.seconds + 0.5
    assert result["train_rows"] == 640
    assert result["fitted_rows"] == 576
    assert result["steps"] == 36
    assert result["rows_trained"] == 36 * 32
    want = result["rows_trained"] / result["seconds"]["train"]
    assert result["samples_per_s"] == pytest.approx(want, rel=0.01)
    # One rank, one measurement; python with torch takes more than 100 MB.
    assert len(result["peak_memory_bytes"]) == result["num_ranks"]
    assert all(100e6 < size < 10e9 for size in result["peak_memory_bytes"])
    assert pathlib.Path(result["export_dir"]) == done.run_folder / "export"


def test_accuracy_and_f1_are_those_of_the_confusion_matrix(done: Done) -> None:
    result, matrix = done.result, done.result["confusion_matrix"]
    assert result["test_rows"] == 101 == sum(map(sum, matrix))
    right = [matrix[k][k] for k in range(4)]
    assert result["accuracy"] == pytest.approx(sum(right) / 101)
    f1 = []
    for k in range(4):
        said, true = sum(row[k] for row in matrix), sum(matrix[k])
        f1.append(2 * right[k] / max(1, said + true))
    assert result["macro_f1"] == pytest.approx(sum(f1) / 4)
    assert f"accuracy {result['accuracy']:.4f}" in done.out


def test_settings_and_environment_are_saved_with_the_run(done: Done) -> None:
    settings, environment = (
        json.loads((done.run_folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("settings", "environment")
    )
    assert settings["preset"] == "tiny"
    assert settings["train_rows"] == 640
    assert settings["learning_rate"] is not None  # the preset's, filled in
    assert environment["num_ranks"] == done.result["num_ranks"]
    assert environment["packages"]["torch"] == torch.__version__


def logged(done: Done) -> list[dict[str, object]]:
    text = (done.run_folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_log_holds_every_tenth_step_and_every_epoch(done: Done) -> None:
    records = logged(done)
    assert [r["step"] for r in records if "loss" in r] == [10, 20, 30]
    assert [r["step"] for r in records if "validation" in r] == [18, 36]


def test_the_log_shows_a_falling_loss() -> None:
    # WHY the long run: `tiny` starts from random weights, and after 36 steps it has
    # learnt anything between nothing and most of it, by luck of the seed.
    losses = [r["loss"] for r in logged(chapters.long_run()) if "loss" in r]
    assert len(losses) == 21
    assert sum(losses[-3:]) < 0.5 * sum(losses[:3])


def test_every_checkpoint_and_the_export_are_intact(done: Done) -> None:
    folders = sorted((done.run_folder / "checkpoints").iterdir())
    assert [folder.name for folder in folders] == ["step-00000018", "step-00000036"]
    for folder in [*folders, done.run_folder / "export"]:
        checkpoint.verify(folder)


@pytest.mark.filterwarnings("default")  # transformers' own deprecations
def test_plain_transformers_opens_the_export_and_gives_the_printed_answers(
    done: Done,
) -> None:
    from transformers import pipeline

    ask = pipeline(
        "text-classification", model=str(done.run_folder / "export"), top_k=None
    )
    answers = ask(list(report.HEADLINES), truncation=True)
    for text, ours, scores in zip(
        report.HEADLINES, done.result["headlines"], answers, strict=True
    ):
        theirs = {entry["label"]: entry["score"] for entry in scores}
        assert theirs.keys() == set(LABEL_NAMES)
        assert ours["scores"] == pytest.approx(theirs, abs=1e-5)
        assert ours["label"] == max(theirs, key=theirs.__getitem__)
        printed = "  ".join(f"{n} {ours['scores'][n]:.3f}" for n in LABEL_NAMES)
        assert f"{ours['label']:9} <- {text}\n          {printed}\n" in done.out


def test_stdout_is_free_of_progress_bars_and_stderr_has_each_bar_once(
    done: Done,
) -> None:
    assert "\r" not in done.out
    assert "%|" not in done.out
    # A bar is one line that is drawn over and over; two bars would be two lines.
    assert bars(done) == 1, str(done)
    assert re.search(r"train: 100%\|.*36/36", done.err)
    assert done.err.count("\r") > 5  # negative control: bars do draw with them


# --- The promise: the same model ------------------------------------------------


def test_chapter_01_and_chapter_05_on_one_rank_end_with_the_same_weights() -> None:
    """With the same batches: chapter 01 shuffles, chapter 05 also sorts by length."""
    alike = chapters.small_run("--num-ranks", "1", "--batches", "shuffled")
    chapters.same_training_state(chapter_01().run_folder, alike.run_folder)
    assert chapter_01().result["confusion_matrix"] == alike.result["confusion_matrix"]
    # Negative control: with batches of like length it is another run.
    with pytest.raises(AssertionError, match="differs"):
        chapters.same_training_state(chapter_01().run_folder, alone().run_folder)


def test_with_dropout_two_ranks_end_with_other_weights_than_one() -> None:
    """Negative control: the comparison above can tell models apart."""
    with pytest.raises(AssertionError, match="differs"):
        chapters.same_training_state(
            chapters.small_run().run_folder, alone().run_folder
        )


@pytest.mark.slow
def test_without_dropout_two_ranks_and_one_train_the_same_model() -> None:
    weights_of_one, weights_of_two = (
        chapters.weights(chapters.small_run(*PLAIN_SGD, "--num-ranks", n).run_folder)
        for n in "12"
    )
    for name, tensor in weights_of_one.items():
        # WHY a tolerance: two halves are summed in another order than one whole.
        torch.testing.assert_close(tensor, weights_of_two[name], rtol=0, atol=1e-5)
    other = chapters.weights(
        chapters.small_run(*PLAIN_SGD, "--seed", "1", "--num-ranks", "1").run_folder
    )
    gap = max(
        float((weights_of_one[n] - other[n]).abs().max())
        for n in weights_of_one
        if n in other
    )
    assert gap > 1e-2  # negative control: another seed is another model


# --- Started otherwise ----------------------------------------------------------


@torchrun_only
@pytest.mark.slow  # test_resume.py starts one with torchrun and ends it without
def test_under_torchrun_the_chapter_gives_the_same_result() -> None:
    words = (*TORCHRUN, "--standalone", "--nproc_per_node=2", CHAPTER_05, *SMALL)
    done = chapters.run(*words)
    assert done.left == []
    assert (
        done.result["confusion_matrix"]
        == (chapters.small_run().result["confusion_matrix"])
    )
    chapters.same_training_state(done.run_folder, chapters.small_run().run_folder)
    assert done.out.count("result.json") == 1
    assert bars(done) == 1, str(done)


def rank_process(program: Program, rank: int) -> psutil.Process:
    for process in program.processes():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("RANK") == str(rank):
                return process
    raise AssertionError(f"no rank {rank}")


@torchrun_only
@pytest.mark.slow
def test_torchrun_restarts_a_killed_rank_and_the_run_ends_as_if_undisturbed() -> None:
    program, folder = chapters.start(
        *(*TORCHRUN, "--standalone", "--nproc_per_node=2", "--max-restarts=1"),
        *(CHAPTER_05, *LONG),
    )
    saved = folder / "checkpoints" / "step-00000036"
    chapters.follow(program, saved.exists)
    rank_process(program, 1).kill()
    done = chapters.finish(program, folder)
    assert done.code == 0, str(done)
    assert done.left == []
    resumed = re.search(r"^resuming .* after step (\d+)$", done.out, re.MULTILINE)
    assert resumed, str(done)
    assert 36 <= int(resumed[1]) < 216
    chapters.same_training_state(folder, chapters.long_run().run_folder)


@pytest.mark.slow
def test_under_the_conditions_of_windows_the_chapter_gives_the_same_result() -> None:
    cwd = chapters.workspace() / "Eigene Dateien von Jörg Müller" / ("x" * 60)
    temporary = cwd / "Temp"
    temporary.mkdir(parents=True)
    folders = {"TEMP": str(temporary), "TMPDIR": str(temporary)}
    folders["DISTRINEWS_CACHE"] = str(cwd / "cache")
    environment = {**WINDOWS, **folders}
    begun = (CHAPTER_05, *SMALL, "--runs-dir", cwd / "runs", "--save-every-steps", "5")
    done = chapters.run(*begun, "--max-steps", "20", env=environment, cwd=cwd, name="r")
    done = chapters.run(
        *begun, "--resume", env=environment, cwd=cwd, name="r", runs=cwd / "runs"
    )
    assert done.left == []
    # torch makes a cache there for torch.compile.
    left = {path.name.partition("_")[0] for path in temporary.iterdir()}
    assert left <= {"torchinductor"}
    # What Windows had not let go would have kept a draft's name.
    assert list(cwd.rglob(".*")) == []
    # All others could be removed, the one that was restored, too.
    saved = cwd / "runs" / "r" / "checkpoints"
    newest = json.loads((saved / "step-00000036" / "state.json").read_text("utf-8"))
    kept = {36, 35, newest["best_step"]}
    assert {path.name for path in saved.iterdir()} == {f"step-{n:08d}" for n in kept}
    assert (
        done.result["confusion_matrix"]
        == (chapters.small_run().result["confusion_matrix"])
    )


# --- What a chapter says when asked ---------------------------------------------


@functools.cache
def help_text() -> str:
    done = subprocess.run(
        [sys.executable, CHAPTER_05, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return " ".join(done.stdout.split())


def test_help_explains_every_flag() -> None:
    text = help_text()
    assert "Question Two processes" in text or "Question" in text
    fields = DistributedSettings.model_fields
    assert len(fields) >= 15  # the guard: they were found
    for name, field in fields.items():
        assert f"--{name.replace('_', '-')}" in text
        assert field.description
        assert " ".join(field.description.split()) in text
