"""Proofs for `python -m distrinews`: what it answers, how fast, and to whom."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence

import pytest
from helpers import chapters
from pydantic_settings import CliPositionalArg

from distrinews import __version__
from distrinews.cli import parser as cli_parser
from distrinews.config.command_settings import CommandSettings
from distrinews.config.flags import parse
from distrinews.data.cleaning import repair
from distrinews.data.labels import LABEL_NAMES

CLI = (sys.executable, "-m", "distrinews")
STORM = "Oil prices rise as a storm nears the coast"
CYRILLIC = "Хоккейный клуб выиграл финал"
LONG_TEXT = "shares fall " * 300
Completed = subprocess.CompletedProcess[bytes]
posix_only = pytest.mark.skipif(
    sys.platform == "win32", reason="a pipeline of a POSIX shell"
)


def variables(**more: str) -> dict[str, str]:
    changed = {**chapters.environment(), **more}
    return {**os.environ, **{k: v for k, v in changed.items() if v is not None}}


def call(*words: object, stdin: bytes = b"", expect: int = 0, **env: str) -> Completed:
    done = subprocess.run(
        [*CLI, *map(str, words)],
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
        env=variables(**env),
    )
    shown = (done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr)
    assert done.returncode == expect, shown
    assert b"Traceback" not in done.stderr, shown
    return done


def export() -> pathlib.Path:
    return chapters.small_run().run_folder / "export"


@functools.cache
def by_transformers(text: str) -> dict[str, float]:
    from transformers import pipeline

    ask = pipeline("text-classification", model=str(export()), top_k=None)
    return {s["label"]: s["score"] for s in ask([text], truncation=True)[0]}


def check_answer(line: str, text: str, shown: str) -> None:
    """One printed line: label, scores in the order of the labels, text."""
    label, scores, words = line.split("\t")
    want = by_transformers(text)
    assert label == max(want, key=want.__getitem__)
    assert words == shown
    for name, part in zip(LABEL_NAMES, scores.split("  "), strict=True):
        assert part == f"{name} {float(part.rsplit(' ', 1)[1]):.4f}"
        # WHY half a unit of the last printed digit, and rounding of float32.
        assert float(part.rsplit(" ", 1)[1]) == pytest.approx(want[name], abs=6e-5)


# --- predict --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # transformers' own deprecations
def test_predict_gives_transformers_own_scores_from_a_run_folder() -> None:
    done = call("predict", "--model", export().parent, STORM, CYRILLIC)
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 2
    for line, text in zip(lines, (STORM, CYRILLIC), strict=True):
        check_answer(line, text, text)
    assert by_transformers(STORM) != by_transformers(CYRILLIC)  # negative control


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_predict_reads_utf8_lines_skips_blank_ones_and_says_what_it_cut() -> None:
    text = f"{STORM}\r\n\n   \n{CYRILLIC}\n{LONG_TEXT}\nlast line without its end"
    done = call(
        *("predict", "--model", export()),
        stdin=text.encode(),
        PYTHONIOENCODING="cp1252",  # a Windows console; it has no Cyrillic
        PYTHONUTF8="0",
    )
    lines = done.stdout.decode("cp1252").splitlines()
    assert len(lines) == 4
    check_answer(lines[0], STORM, STORM)
    written = CYRILLIC.encode("cp1252", "backslashreplace").decode()
    check_answer(lines[1], CYRILLIC, written)
    shown = f"{LONG_TEXT.strip()}  (only its beginning was read)"
    check_answer(lines[2], LONG_TEXT, shown)
    assert lines[3].endswith("\tlast line without its end")


@posix_only
@pytest.mark.slow
def test_predict_ends_quietly_when_its_reader_has_read_enough(
    tmp_path: pathlib.Path,
) -> None:
    texts = tmp_path / "texts"
    texts.write_text("".join(f"{STORM} {n}\n" for n in range(3000)), encoding="utf-8")
    script = 'set -o pipefail; "$@" < "$0" | head -1'
    done = subprocess.run(
        ["bash", "-c", script, texts, *CLI, "predict", "--model", export()],
        capture_output=True,
        timeout=120,
        check=False,
        env=variables(),
    )
    assert done.returncode == 0, str(done)
    assert done.stdout.count(b"\n") == 1
    assert b"BrokenPipe" not in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_headline_is_one_text_whatever_is_in_it() -> None:
    texts = ["Oil falls, gold rises", 'A "record', "[Update] 7", "null"]
    args = cli_parser.parser().parse_args(["predict", "--model", "export", *texts])
    assert args.texts == texts

    # Negative control, and why these arguments are not read by pydantic-settings.
    class Predict(CommandSettings):
        texts: CliPositionalArg[list[str]]

    cut = parse(Predict, about="", arguments=texts[:1]).texts
    assert cut == ["Oil falls", "gold rises"]


def damaged_export() -> pathlib.Path:
    folder = chapters.workspace() / "damaged"
    shutil.copytree(export(), folder)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1  # one bit
    (folder / "model.safetensors").write_bytes(content)
    return folder


@pytest.mark.slow
def test_a_damaged_export_is_refused_by_the_name_of_its_file() -> None:
    done = call("predict", "--model", damaged_export(), STORM, expect=2)
    err = done.stderr.decode()
    assert err.count("Error: ") == 1
    assert "model.safetensors has another content" in err
    assert "troubleshooting/#predict" in err
    assert done.stdout == b""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_folder_without_a_model_is_refused(
    command: str, tmp_path: pathlib.Path
) -> None:
    done = call(command, "--model", tmp_path, expect=2)
    err = done.stderr.decode()
    assert err.count("Error: ") == 1
    assert "holds no exported model" in err


# --- evaluate -------------------------------------------------------------------


def evaluated(num_ranks: int) -> dict[str, object]:
    file = chapters.workspace() / "figures" / f"{num_ranks}.json"
    done = call(
        *("evaluate", "--model", export().parent, "--test-rows", 101),
        *("--num-ranks", num_ranks, "--json", file),
    )
    figures: dict[str, object] = json.loads(done.stdout)
    assert json.loads(file.read_text(encoding="utf-8")) == figures
    return figures


def without_rounding(figures: dict[str, object]) -> dict[str, object]:
    # The loss is a sum over ranks: its last digit depends on the order of adding.
    return {name: value for name, value in figures.items() if name != "loss"}


@pytest.mark.slow
def test_one_rank_counts_what_the_runs_two_ranks_counted() -> None:
    figures, result = evaluated(1), chapters.small_run().result
    assert figures["rows"] == 101
    for name in ("confusion_matrix", "accuracy", "macro_f1"):
        assert figures[name] == result[name]


@pytest.mark.slow
def test_one_two_and_three_ranks_write_the_same_json() -> None:
    one, two, three = (evaluated(n) for n in (1, 2, 3))
    assert without_rounding(one) == without_rounding(two) == without_rounding(three)
    for other in (two, three):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-12)


@pytest.mark.slow
def test_raw_leaves_broken_characters_in_the_texts(tmp_path: pathlib.Path) -> None:
    """Every text has a broken character of the kind that AG News has by thousands."""
    rows = [f"{1 + n % 4},Story {n},It #39;s number {n} of today" for n in range(40)]
    assert repair(rows[0]) == "1,Story 0,It's number 0 of today"
    for split in ("train", "test"):
        (tmp_path / f"{split}.csv").write_text("\n".join(rows), encoding="utf-8")
    words = ("evaluate", "--model", export(), "--data", tmp_path)
    repaired, raw = (
        json.loads(call(*words, *more).stdout) for more in ((), ("--raw",))
    )
    assert repaired["rows"] == raw["rows"] == 40
    assert repaired["loss"] != raw["loss"]  # the texts were not the same


@pytest.mark.slow
def test_a_mistyped_number_of_ranks_is_refused() -> None:
    words = ("evaluate", "--model", export(), "--num-ranks", "0")
    err = call(*words, expect=2).stderr.decode()
    assert err.count("Error: ") == 1
    assert "num_ranks is 0" in err


# --- Fast answers ---------------------------------------------------------------


def cpu_seconds_and_modules(words: Sequence[str]) -> tuple[float, Completed]:
    # WHY CPU time: on a busy machine the wall clock measures the neighbours.
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "distrinews", *words],
        capture_output=True,
        timeout=60,
        check=False,
    )
    after = os.times()
    used_s = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    return used_s, done


@pytest.mark.parametrize("typed", ["--version", "--help", "predict --help", "nope"])
def test_help_version_and_a_mistyped_command_answer_at_once(
    typed: str,
) -> None:
    used_s, done = cpu_seconds_and_modules(typed.split())
    assert done.returncode == (2 if typed == "nope" else 0), str(done)
    assert used_s < 1
    imported = {
        line.rsplit("|")[-1].strip() for line in done.stderr.decode().split("\n")
    }
    assert "distrinews.system.console" in imported  # the guard: imports were recorded
    assert not imported & {"torch", "transformers", "numpy", "pyarrow"}


def test_version_is_the_installed_packages() -> None:
    done = call("--version")
    assert done.stdout.decode().strip() == __version__
    assert importlib.metadata.version("distrinews") == __version__


def test_the_installed_command_is_the_same_program() -> None:
    name = "distrinews.exe" if sys.platform == "win32" else "distrinews"
    command = pathlib.Path(sys.executable).with_name(name)
    done = subprocess.run(
        [command, "--version"], capture_output=True, timeout=60, check=True
    )
    assert done.stdout.decode().strip() == __version__


# --- Commands that need the repository --------------------------------------------


ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def package_alone(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder that holds the package and nothing else of the repository."""
    folder = tmp_path_factory.mktemp("without_a_repository")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "distrinews", folder / "distrinews", ignore=ignore)
    return folder


def call_from(
    source: pathlib.Path, command: str, *, folder: pathlib.Path
) -> subprocess.CompletedProcess[str]:
    """Run a command of the package that lies in `source`, in another folder."""
    return subprocess.run(
        [*CLI, *command.split()],
        cwd=folder,
        env=variables(PYTHONPATH=str(source), PYTHONUTF8="1"),
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "missing", "code", "in_checkout"),
    [
        ("docs --help", "site_docs/_tools/docs_site.py is not in", 0, "--serve"),
        (
            "space build --model nowhere --out space --hardware cpu",
            "apps/space/space.py is not in",
            2,  # it goes further: it looks for the model
            "--model nowhere: neither a folder nor a repository",
        ),
        ("lab list", "the labs are not here", 0, "mean_of_means"),
        pytest.param(
            *("lab check mean_of_means", "the labs are not here", 1, "right is 0.75"),
            marks=pytest.mark.slow,
        ),
        ("exercise list", "the exercises are not here", 0, "tell_the_others"),
        ("exercise start my_rows", "the exercises are not here", 0, "Edit `solve`"),
    ],
)
def test_a_command_that_needs_the_repository_says_so_without_one(
    command: str,
    missing: str,
    code: int,
    in_checkout: str,
    package_alone: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    refused = call_from(package_alone, command, folder=tmp_path)
    shape = r"Error: (.+)\n  why:  .+\n  fix:  (.+)\n  more: troubleshooting/#\S+\n"
    match = re.fullmatch(shape, refused.stderr)
    assert match, refused
    assert (refused.returncode, refused.stdout) == (2, "")
    assert match[1].startswith(missing)
    assert "clone" in match[2]
    assert list(tmp_path.iterdir()) == []
    # Control: the same command in the checkout works, or goes further.
    done = call_from(ROOT, command, folder=tmp_path)
    assert done.returncode == code, done
    assert in_checkout in done.stdout + done.stderr
    assert missing not in done.stdout + done.stderr


def test_the_package_alone_answers_what_needs_no_repository(
    package_alone: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Control: the copy of the test above is whole."""
    for command in ("--version", "interview --list"):
        done = call_from(package_alone, command, folder=tmp_path)
        assert done.returncode == 0, done
        assert done.stdout == call_from(ROOT, command, folder=tmp_path).stdout
