"""Proofs for training.export and .inference: what was measured is what is served."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import exports
from transformers import pipeline

from distrinews import model
from distrinews.data.labels import LABEL_NAMES
from distrinews.errors import ModelError, OutputError
from distrinews.inference.classifier import Classifier
from distrinews.training import export

MAX_LENGTH = 24
TEXTS = [
    "Oil prices rise as storm nears the coast",
    "Striker signs a new contract",
    "a",
    "Хоккейный клуб выиграл финал",
    "¤ \u200b 1 ¤",
    "Parliament votes " * 8,
]
LONG = "chip maker opens a plant " * 4000  # 100,000 characters
FACTS = exports.facts(max_length=MAX_LENGTH)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a tiny model whose answers differ widely from text to text."""
    tokenizer = model.load_tokenizer(
        "tiny", max_length=MAX_LENGTH, texts=[*TEXTS[:4], LONG[:400]] * 3
    )
    torch.manual_seed(1)
    net = model.build("tiny", dropout=0.3, vocabulary_size=len(tokenizer))
    with torch.no_grad():
        for weights in net.parameters():
            weights *= 3  # an untrained model would say 0.25 to everything
    net.train()  # as training leaves it: dropout on
    folder = tmp_path_factory.mktemp("run") / "export"
    export.write(folder, net=net, tokenizer=tokenizer, facts=FACTS)
    return folder


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    return Classifier(folder)


@pytest.fixture(scope="module")
def plain(folder: Path) -> Any:
    """What somebody uses who has never heard of this library."""
    return pipeline("text-classification", model=str(folder), top_k=None)


def scores(answers: list[Any]) -> list[float]:
    # WHY: with truncation=True transformers wraps the answer in one more list.
    answers = answers[0] if isinstance(answers[0], list) else answers
    by_name = {answer["label"]: answer["score"] for answer in answers}
    assert by_name.keys() == set(LABEL_NAMES)
    return [by_name[name] for name in LABEL_NAMES]


def assert_same(answers: list[Any], prediction: Any) -> None:
    got = scores(answers)
    assert got == pytest.approx(list(prediction.scores.values()), abs=1e-6)
    assert LABEL_NAMES[got.index(max(got))] == prediction.label


def test_plain_transformers_gives_the_same_labels_and_scores(
    classifier: Classifier, plain: Any
) -> None:
    # WHY one by one and without arguments: that is the first thing anybody types.
    for text, prediction in zip(TEXTS, classifier.predict(TEXTS), strict=True):
        if not prediction.truncated:
            assert_same(plain(text), prediction)
        assert_same(plain(text, truncation=True), prediction)


def test_those_scores_are_no_accident(classifier: Classifier) -> None:
    """Negative control: other texts have other scores and other labels."""
    answers = classifier.predict(TEXTS[:4])
    rounded = {tuple(round(s, 3) for s in a.scores.values()) for a in answers}
    assert len(rounded) == 4


def test_a_text_of_100000_characters_is_cut_where_training_cut_it(
    classifier: Classifier, plain: Any
) -> None:
    assert len(LONG) == 100_000
    [answer] = classifier.predict([LONG])
    assert answer.truncated
    assert_same(plain(LONG, truncation=True), answer)
    # The cut is the tokenizer's, at MAX_LENGTH: what comes later changes nothing.
    [same_start] = classifier.predict([LONG[:50_000] + "football " * 1000])
    assert same_start.scores == pytest.approx(answer.scores, abs=1e-6)
    [short] = classifier.predict(["chip maker opens a plant"])
    assert not short.truncated
    assert short.scores != pytest.approx(answer.scores, abs=1e-6)


def test_the_export_carries_the_maximum_length_the_labels_and_no_token_types(
    folder: Path,
) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    assert config["id2label"] == {str(i): n for i, n in enumerate(LABEL_NAMES)}
    assert config["label2id"] == {n: i for i, n in enumerate(LABEL_NAMES)}
    tokens = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    assert tokens["model_max_length"] == MAX_LENGTH
    assert tokens["model_input_names"] == ["input_ids", "attention_mask"]
    card = (folder / "README.md").read_text("utf-8")
    assert "| accuracy | 0.5000 |" in card
    assert "pipeline(" in card
    assert json.loads((folder / "distrinews.json").read_text("utf-8")) == FACTS
    kinds = {path.suffix for path in folder.iterdir()}
    assert kinds == {".json", ".md", ".safetensors"}, "no pickle, no code"


def test_opening_an_export_warns_of_nothing(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Classifier(folder).predict(TEXTS)


def test_the_run_folder_is_as_good_as_the_export_in_it(
    folder: Path, classifier: Classifier
) -> None:
    assert Classifier(str(folder.parent)).folder == classifier.folder


def test_an_answer_does_not_depend_on_the_company_and_the_order_is_kept(
    classifier: Classifier,
) -> None:
    # WHY 1e-5: a longer neighbour means padding, and sums of another length round
    # differently.
    many = (TEXTS * 7)[:40]  # more than one batch of 32
    together = classifier.predict(many)
    backwards = classifier.predict(many[::-1])[::-1]
    for text, forward, backward in zip(many, together, backwards, strict=True):
        [alone] = classifier.predict([text])
        for batched in (forward, backward):
            assert batched.label == alone.label
            assert batched.scores == pytest.approx(alone.scores, abs=1e-5)


def test_scores_add_up_to_1_and_the_label_has_the_highest(
    classifier: Classifier,
) -> None:
    for answer in classifier.predict([*TEXTS, LONG]):
        assert sum(answer.scores.values()) == pytest.approx(1, abs=1e-6)
        assert list(answer.scores) == list(LABEL_NAMES)
        assert answer.scores[answer.label] == max(answer.scores.values())


def test_the_same_text_gets_the_same_answer_to_the_last_digit(
    classifier: Classifier, folder: Path
) -> None:
    first, second = (classifier.predict(TEXTS) for _ in range(2))
    assert first == second
    noisy = Classifier(folder)  # negative control: dropout is in the model, and off
    noisy.net.train()
    assert noisy.predict(TEXTS) != noisy.predict(TEXTS)


@pytest.mark.parametrize("empty", ["", "   ", "\n\t"])
def test_an_empty_text_is_an_error_that_names_its_place(
    classifier: Classifier, empty: str
) -> None:
    with pytest.raises(ModelError, match="text 2 of 3 is empty"):
        classifier.predict(["Oil", empty, "Gas"])
    assert classifier.predict([]) == []


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        *[
            (text, False)
            for text in ("!!!", "\u200b\u200d", "…", "🎉", "\u3164", "\u0301")
        ],
        *[(text, True) for text in ("a!", "7", "é", "你", "ه", "𝐎il", "!!! x")],
    ],
)
def test_a_text_without_a_letter_or_digit_is_refused(
    classifier: Classifier, text: str, is_read: bool
) -> None:
    if is_read:  # the control
        assert classifier.predict([text])
    else:
        with pytest.raises(ModelError, match="text 1 of 1 has no letter and no digit"):
            classifier.predict([text])


def test_a_long_text_is_cut_before_it_becomes_tokens(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = 16 * classifier.max_length
    read: list[int] = []

    class Tokenizer:
        """Counts the characters that it is given."""

        def encode(self, text: str) -> Any:
            read.append(len(text))
            return tokenizer.encode(text)

    tokenizer = classifier._tokenizer
    monkeypatch.setattr(classifier, "_tokenizer", Tokenizer())
    long = "Oil prices rise. " * 5000
    encoded = classifier.encode(long)
    assert encoded.truncated
    assert encoded.ids == tuple(tokenizer.encode(long).ids)  # cut, and no other answer
    assert classifier.encode("a" + " " * 2 * limit).truncated is False
    assert classifier.encode("a" + " " * limit + "b").truncated is True
    assert classifier.encode("a" * limit).truncated is False  # one word, whole
    assert max(read) == limit < len(long)


def flip_a_bit(export: Path) -> None:
    content = bytearray((export / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (export / "model.safetensors").write_bytes(content)


def swap_two_labels(export: Path) -> None:
    text = (export / "config.json").read_text("utf-8")
    text = text.replace("Sports", "?").replace("World", "Sports").replace("?", "World")
    (export / "config.json").write_text(text, "utf-8")


def lose_the_tokenizer(export: Path) -> None:
    (export / "tokenizer.json").unlink()


def vouch_for_nothing(export: Path) -> None:
    (export / "manifest.json").write_text('{"format": 1, "files": {}}', "utf-8")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (flip_a_bit, "model.safetensors has another content"),
        (swap_two_labels, "config.json has another"),
        (lose_the_tokenizer, "tokenizer.json is missing"),
        (vouch_for_nothing, "lists no"),
        (shutil.rmtree, "holds no exported model"),
    ],
)
def test_a_damaged_export_is_an_error_that_names_the_file(
    folder: Path, tmp_path: Path, damage: Callable[[Path], None], named: str
) -> None:
    copy = tmp_path / "export"
    shutil.copytree(folder, copy)
    Classifier(copy)  # negative control: the copy itself is fine
    damage(copy)
    with pytest.raises(ModelError, match=named):
        Classifier(copy)


def test_a_path_without_an_export_names_one_that_there_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="train one"):
        Classifier("runs/mine")
    shutil.copytree(folder, tmp_path / "runs" / "20260101" / "export")
    with pytest.raises(ModelError, match=r"--model runs.20260101"):
        Classifier("runs/mine")


def test_an_export_that_fails_leaves_the_older_one(
    folder: Path, tmp_path: Path, classifier: Classifier
) -> None:
    copy = tmp_path / "export"
    shutil.copytree(folder, copy)

    class FullDisk:
        def save_pretrained(self, _: object) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        export.write(copy, net=FullDisk(), tokenizer=FullDisk(), facts=FACTS)  # type: ignore[arg-type]
    assert Classifier(copy).predict(TEXTS) == classifier.predict(TEXTS)
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
