"""Proofs for rows of any classes: from the file to the export, with their own names."""

from __future__ import annotations

import argparse
import csv
import functools
import json
import random
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pytest
from helpers import chapters
from helpers.chapters import CHAPTER_05
from helpers.running import Program, wait_until
from pyarrow import parquet
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from distrinews import model
from distrinews.cli import judging_rows
from distrinews.config.settings import DistributedSettings
from distrinews.data.labels import LABEL_NAMES
from distrinews.data.sources import open_source
from distrinews.errors import SettingsError
from distrinews.inference.classifier import Classifier
from distrinews.training import corpus, report, resume

APPS = Path(__file__).parents[1] / "apps"
REVIEWS = ("bad", "fair", "good")
SPAM = ("ham", "spam")
TOPICS = tuple(f"topic.{chr(97 + k)}" for k in range(20))


def made_up(classes: tuple[str, ...], num_rows: int) -> list[tuple[str, str]]:
    """Texts that tell their class most of the time: a word in eight is another's."""
    rng = random.Random(len(classes))
    rows = []
    for number in range(num_rows):
        label = classes[number % len(classes)]
        hint = label if rng.random() < 7 / 8 else rng.choice(classes)
        rows.append((label, f"Number {number} is about {hint} and {rng.random():.3f}"))
    return rows


def write_csv(path: Path, rows: list[tuple[str, str]], separator: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows([("label", "text"), *rows])
    return path


def write_json(path: Path, rows: list[tuple[str, str]]) -> Path:
    lines = [json.dumps({"label": label, "text": text}) for label, text in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list[tuple[str, str]]) -> Path:
    columns = {"label": [row[0] for row in rows], "text": [row[1] for row in rows]}
    parquet.write_table(pyarrow.table(columns), path)
    return path


FILES = {
    "spam": lambda folder: write_csv(folder / "spam.csv", made_up(SPAM, 200)),
    "reviews": lambda folder: write_csv(
        folder / "reviews.csv", made_up(REVIEWS, 300), ";"
    ),
    "topics": lambda folder: write_json(folder / "topics.jsonl", made_up(TOPICS, 400)),
    "parquet": lambda folder: write_parquet(
        folder / "reviews.parquet", made_up(REVIEWS, 300)
    ),
}
CLASSES = {"spam": SPAM, "reviews": REVIEWS, "topics": TOPICS, "parquet": REVIEWS}
ALL: Any = {"num_rows": None, "seed": 0}
NUM_RANKS = {"spam": 2, "reviews": 1, "topics": 1, "parquet": 1}


@functools.cache
def file(name: str) -> Path:
    return FILES[name](chapters.workspace())


@functools.cache
def trained(name: str) -> chapters.Done:
    return chapters.run(
        *(CHAPTER_05, "--preset", "tiny", "--data", file(name), "--epochs", 2),
        *("--num-ranks", NUM_RANKS[name], "--seed", 3),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_run_on_own_rows_counts_as_scikit_learn_and_keeps_their_names(
    name: str,
) -> None:
    done, classes = trained(name), CLASSES[name]
    assert done.left == []
    result, export = done.result, done.run_folder / "export"
    assert tuple(result["classes"]) == classes
    config = json.loads((export / "config.json").read_text("utf-8"))
    assert config["id2label"] == {str(k): label for k, label in enumerate(classes)}
    # The export answers the same test rows; scikit-learn counts.
    rows = list(open_source(str(file(name))).rows("test", num_rows=None, seed=3))
    truth = [classes[row.label] for row in rows]
    answers = Classifier(export).predict([row.text for row in rows])
    predicted = [answer.label for answer in answers]
    assert list(answers[0].scores) == list(classes)
    matrix = confusion_matrix(truth, predicted, labels=list(classes)).tolist()
    assert result["confusion_matrix"] == matrix
    assert result["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert result["macro_f1"] == pytest.approx(
        f1_score(truth, predicted, average="macro", zero_division=0)
    )
    # What is printed: classes with their rows, and test rows in place of headlines.
    for label in classes:
        assert label in done.out
    texts = {row.text for row in rows}
    assert {answer["text"] for answer in result["headlines"]} <= texts
    assert len(result["headlines"]) == min(3, len(classes))
    assert report.HEADLINES[0] not in done.out


@pytest.mark.slow
def test_the_card_of_own_rows_holds_no_path_and_no_licence() -> None:
    export = trained("spam").run_folder / "export"
    for name in ("README.md", "distrinews.json"):
        text = (export / name).read_text("utf-8")
        assert "spam.csv" not in text
        assert str(file("spam").parent) not in text
        assert "you know" not in text
        assert "ham" in text
    card = (export / "README.md").read_text("utf-8")
    assert "license:" not in card
    # Negative control: a card of newswire, whose rows are ours, names it.
    news = chapters.small_run().run_folder / "export" / "README.md"
    assert "license: mit" in news.read_text("utf-8")


@pytest.mark.slow
def test_evaluate_judges_a_run_by_its_own_test_rows_and_names_them() -> None:
    done = trained("spam")
    call = (*("-m", "distrinews", "evaluate", "--model", done.run_folder),)
    figures = evaluated(*call)
    assert figures["confusion_matrix"] == done.result["confusion_matrix"]
    assert str(file("spam")) in str(figures["data"])
    again = evaluated(*call, "--data", file("spam"))
    assert again["data_fingerprint"] == figures["data_fingerprint"]


def evaluated(*words: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


# --- Before training --------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> DistributedSettings:
    long = [("ham", f"word {k} " * 60) for k in range(5)]
    rows = [*made_up(SPAM, 60), *long]
    data = write_csv(tmp_path / "spam.csv", rows, "\t")
    return DistributedSettings(
        preset="tiny",
        data=str(data),
        max_length=32,
        global_batch_size=8,
        runs_dir=str(tmp_path / "runs"),
        run_name="one",
    )


@pytest.mark.usefixtures("own_cache")
def test_the_summary_says_how_the_file_was_read(settings: DistributedSettings) -> None:
    splits = corpus.load(settings)
    assert splits.class_names == SPAM
    assert splits.train.labels.dtype.itemsize == 2
    num_long = sum(
        len(row.text) > 300
        for row in corpus.open_source(settings).rows("train", num_rows=None, seed=0)
    )
    assert splits.train.num_cut == num_long > 0
    summary = report._summary_of_own_rows(splits)
    assert "CSV with tabs; text from text, label from label" in summary
    for label, name in enumerate(SPAM):
        rows = [
            int((table.labels == label).sum()) for table in (splits.train, splits.test)
        ]
        assert f"{name:5} {rows[0]:7} {rows[1]:7}" in summary
    assert f"{num_long} of {len(splits.train)} rows are longer" in summary
    assert "number " in summary  # the first text, in the model's small letters
    # Negative control: of news there is nothing to say.
    news = DistributedSettings(preset="tiny", train_rows=64, test_rows=8)
    assert report._summary_of_own_rows(corpus.load(news)) == ""


@pytest.mark.usefixtures("own_cache")
def test_three_hundred_classes_keep_their_numbers(tmp_path: Path) -> None:
    """One byte, as four classes need, would hold 127."""
    rows = [(f"{k:03}", f"text {n} of {k}") for n in range(3) for k in range(300)]
    data = write_csv(tmp_path / "many.csv", [(f"c{k}", text) for k, text in rows])
    splits = corpus.load(DistributedSettings(preset="tiny", data=str(data)))
    assert splits.class_names == tuple(f"c{k:03}" for k in range(300))
    for table in (splits.train, splits.test):
        texts = [splits.tokenizer.decode(table.ids(n)) for n in range(len(table))]
        classes = [int(text.split()[-2]) for text in texts]  # the last one is [SEP]
        assert classes == table.labels.tolist()
    assert set(splits.test.labels.tolist()) == set(range(300))


def test_the_head_has_one_output_for_each_class() -> None:
    net = model.build("tiny", dropout=0.0, vocabulary_size=50, class_names=TOPICS)
    assert net.config.num_labels == net.classifier.out_features == 20
    assert net.config.label2id["topic.c"] == 2


# --- A resume -----------------------------------------------------------------------


def begun(settings: DistributedSettings) -> Path:
    """What a run leaves when it begins."""
    folder = Path(settings.runs_dir) / settings.run_name
    folder.mkdir(parents=True)
    for name, value in (
        ("settings.json", settings.model_dump()),
        (resume.DATA_FILE, resume.describe_data(settings)),
    ):
        (folder / name).write_text(json.dumps(value), encoding="utf-8")
    return folder


def resumed(settings: DistributedSettings, **changes: object) -> DistributedSettings:
    values = settings.model_dump() | {"resume": True} | changes
    return DistributedSettings(**values)


def test_a_resume_with_other_rows_of_the_same_number_is_refused(
    settings: DistributedSettings,
) -> None:
    begun(settings)
    resume.check(resumed(settings))  # nothing changed
    path = Path(settings.data)
    content = path.read_bytes()
    swapped = content.replace(b"\nham", b"\nx").replace(b"\nspam", b"\nham")
    path.write_bytes(swapped.replace(b"\nx", b"\nspam"))
    with pytest.raises(SettingsError, match=r"has other rows since the run"):
        resume.check(resumed(settings))
    path.write_bytes(content.replace(b"Number 3 ", b"Number x "))
    with pytest.raises(SettingsError, match=r"has other rows since the run"):
        resume.check(resumed(settings))
    path.write_bytes(content)
    resume.check(resumed(settings))


def test_a_file_that_grew_gets_the_cure_that_fits_and_the_cure_works(
    settings: DistributedSettings, tmp_path: Path
) -> None:
    begun(settings)
    path = Path(settings.data)
    old = path.read_bytes()
    path.write_bytes(old + b"ham\tone more\r\n")
    with pytest.raises(SettingsError, match=r"has grown by 14 bytes") as caught:
        resume.check(resumed(settings))
    command = caught.value.fix.partition(", then --resume --data old.csv;")[0]
    python, *words = shlex.split(command)
    assert python == "python"
    subprocess.run([sys.executable, *words], cwd=tmp_path, timeout=60, check=True)
    cured = tmp_path / "old.csv"
    assert cured.read_bytes() == old
    resume.check(resumed(settings, data=str(cured)))


def test_the_same_bytes_at_another_path_are_welcome(
    settings: DistributedSettings, tmp_path: Path
) -> None:
    begun(settings)
    moved = tmp_path / "elsewhere.csv"
    Path(settings.data).rename(moved)
    resume.check(resumed(settings, data=str(moved)))
    # Negative control: other columns of the same bytes are other rows.
    with pytest.raises(SettingsError, match="text_columns|other rows"):
        resume.check(resumed(settings, data=str(moved), text_columns="label"))


def hub_copy(home: Path, commit: str, rows: list[tuple[str, str]]) -> Path:
    """What `hf download` leaves of AG News, with these rows in both splits."""
    folder = home / "hub" / "datasets--fancyzhx--ag_news"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit, encoding="utf-8")
    data = folder / "snapshots" / commit / "data"
    data.mkdir(parents=True)
    numbers = [LABEL_NAMES.index(label) for label, _ in rows]
    table = pyarrow.table({"text": [text for _, text in rows], "label": numbers})
    for split in ("train", "test"):
        parquet.write_table(table, data / f"{split}-00000-of-00001.parquet")
    return home


def test_a_resume_with_other_news_of_the_hub_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    rows = made_up(LABEL_NAMES, 40)
    hub_copy(tmp_path, "a" * 40, rows)
    settings = DistributedSettings(
        data="ag_news", runs_dir=str(tmp_path / "runs"), run_name="r"
    )
    folder = begun(settings)
    resume.check(resumed(settings))
    # A new commit with the same rows, such as a corrected README: the same data.
    hub_copy(tmp_path, "b" * 40, rows)
    resume.check(resumed(settings))
    hub_copy(tmp_path, "c" * 40, [*rows[1:], ("World", "Another text")])
    with pytest.raises(SettingsError, match=r"ag_news has other rows(?s:.*)new --run"):
        resume.check(resumed(settings))
    # A run that an older version began has no fingerprints; its data have a name.
    (folder / resume.DATA_FILE).write_text("{}", encoding="utf-8")
    resume.check(resumed(settings))
    with pytest.raises(SettingsError, match="data was ag_news, now newswire"):
        resume.check(resumed(settings, data="newswire"))


# --- Which rows judge a model -------------------------------------------------------


def asked(**given: object) -> argparse.Namespace:
    names = ("data", "text_columns", "label_column", "test_rows", "seed")
    return argparse.Namespace(**(dict.fromkeys(names) | given))


def export_of(folder: Path, labels: tuple[str, ...], **facts: object) -> Any:
    return SimpleNamespace(folder=folder / "export", labels=labels, facts=facts)


def test_the_runs_own_data_columns_rows_and_seed_judge_its_model(
    settings: DistributedSettings,
) -> None:
    chosen = settings.model_copy(update={"seed": 5, "test_rows": 4})
    folder = begun(chosen)
    args = asked()
    judging_rows.follow_run(args, export_of(folder, SPAM))
    assert (args.data, args.test_rows, args.seed) == (settings.data, 4, 5)
    # Other data: only the seed is the run's, so that no training row is a test row.
    args = asked(data="other.csv")
    judging_rows.follow_run(args, export_of(folder, SPAM))
    assert (args.data, args.test_rows, args.seed) == ("other.csv", None, 5)


def test_a_file_that_changed_after_training_judges_nothing_unless_it_is_named(
    settings: DistributedSettings,
) -> None:
    """Where test rows are gone, training rows replace them: too good a figure."""
    export = export_of(begun(settings), SPAM)
    judging_rows.follow_run(asked(), export)  # nothing changed
    path = Path(settings.data)
    trained = {row.text for row in open_source(str(path)).rows("train", **ALL)}
    tested = {row.text for row in open_source(str(path)).rows("test", **ALL)}
    lines = path.read_text("utf-8").splitlines()
    kept = [line for line in lines if line.partition("\t")[2] not in tested]
    path.write_text("\n".join(kept), encoding="utf-8")
    replaced = {row.text for row in open_source(str(path)).rows("test", **ALL)}
    assert replaced
    assert replaced < trained
    with pytest.raises(SettingsError, match=r"spam\.csv has changed since .*one was"):
        judging_rows.follow_run(asked(), export)
    named = asked(data=str(path))
    judging_rows.follow_run(named, export)
    assert named.data == str(path)


def test_a_folder_that_changed_after_training_judges_nothing_unless_it_is_named(
    tmp_path: Path,
) -> None:
    """Also parquet files without splits, of which a tenth is the test split."""
    folder = tmp_path / "shards"
    folder.mkdir()
    rows = made_up(SPAM, 40)
    write_parquet(folder / "part-0.parquet", rows[:20])
    write_parquet(folder / "part-1.parquet", rows[20:])
    chosen = DistributedSettings(data=str(folder), runs_dir=str(tmp_path), run_name="r")
    export = export_of(begun(chosen), SPAM)
    args = asked()
    judging_rows.follow_run(args, export)  # negative control: nothing changed
    assert args.data == str(folder)
    write_parquet(folder / "part-1.parquet", rows[21:])
    with pytest.raises(SettingsError, match=r"shards has changed since .*r was"):
        judging_rows.follow_run(asked(), export)
    judging_rows.follow_run(asked(data=str(folder)), export)


@pytest.mark.parametrize(
    ("labels", "facts", "data"),
    [
        (LABEL_NAMES, {}, "newswire"),
        (LABEL_NAMES, {"data_name": "ag_news"}, "ag_news"),
        (LABEL_NAMES, {"data_name": "own rows"}, None),
        (SPAM, {}, None),
    ],
)
def test_an_export_without_its_run_is_judged_by_news_only_if_it_learned_news(
    tmp_path: Path, labels: tuple[str, ...], facts: dict[str, str], data: str | None
) -> None:
    args = asked()
    export = export_of(tmp_path, labels, **facts)
    if data is not None:
        judging_rows.follow_run(args, export)
        assert (args.data, args.seed) == (data, 0)
    else:
        with pytest.raises(SettingsError, match="author's own"):
            judging_rows.follow_run(args, export)


# --- Served -------------------------------------------------------------------------


@pytest.mark.slow
def test_the_api_answers_with_the_runs_own_names(tmp_path: Path) -> None:
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("fastapi")
    from helpers.served import free_port

    port = free_port()
    words = (APPS / "api.py", "--model", trained("topics").run_folder, "--port", port)
    program = Program(words, folder=tmp_path, env=chapters.environment())
    url = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert program.process.poll() is None, program.err
        try:
            return bool(httpx.get(f"{url}/readyz", timeout=5).status_code == 200)
        except httpx.HTTPError:
            return False

    try:
        wait_until(is_ready, timeout_s=120, what="a server that is ready")
        text = {"text": "Number 7 is about topic.c"}
        answer = httpx.post(f"{url}/predict", json=text, timeout=30).json()
        assert tuple(answer["scores"]) == TOPICS
        assert answer["label"] in TOPICS
        assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-4)
    finally:
        program.kill_everything()
