"""Proofs for distrinews.model and .minilm: what the presets are."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import BertWordPieceTokenizer
from transformers import (
    AutoTokenizer,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
)

from distrinews import model
from distrinews.config.settings import TrainSettings
from distrinews.data.labels import LABEL_NAMES
from distrinews.data.sources import NewswireSource
from distrinews.errors import ModelError
from distrinews.model import minilm, presets

TEXTS = ["Oil prices rise as a storm nears the coast", "Striker signs"]
COMMIT = "12040accade4e8a0f71eabdb258fecc2e7e948be"

pytestmark = pytest.mark.timeout(120)


# --- minilm ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def bert() -> BertModel:
    """What the weights were made for, opened by transformers alone."""
    return BertModel.from_pretrained(minilm.folder(), dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def net() -> DistilBertForSequenceClassification:
    torch.manual_seed(0)
    return model.build(
        "minilm", dropout=0.1, vocabulary_size=30522, whole_last_layer=True
    ).eval()


def states(body: torch.nn.Module) -> torch.Tensor:
    """Last hidden states of the real tokens of both texts, [tokens, 384]."""
    tokenizer = AutoTokenizer.from_pretrained(minilm.folder())
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    mask = inputs["attention_mask"]
    with torch.no_grad():
        out = body(input_ids=inputs["input_ids"], attention_mask=mask)
    return out.last_hidden_state[mask.bool()]  # type: ignore[no-any-return]


def test_minilm_as_a_distilbert_gives_berts_hidden_states(
    bert: BertModel, net: DistilBertForSequenceClassification
) -> None:
    want, got = states(bert), states(net.distilbert)
    assert want.shape[1] == 384
    assert want.abs().max() > 1  # not two vectors of zeros
    # WHY 2e-6: one addition is rounded in another order, nothing else differs.
    torch.testing.assert_close(got, want, rtol=0, atol=2e-6)


def test_without_token_type_0_the_hidden_states_are_others(
    bert: BertModel, net: DistilBertForSequenceClassification
) -> None:
    """Negative control: the one line that is easy to forget."""
    raw = load_file(minilm.folder() / "model.safetensors")
    forgetful: DistilBertModel = DistilBertModel(net.config).eval()
    forgetful.load_state_dict(net.distilbert.state_dict())
    with torch.no_grad():
        forgetful.embeddings.position_embeddings.weight.copy_(
            raw["embeddings.position_embeddings.weight"]
        )
    assert (states(forgetful) - states(bert)).abs().max() > 1e-3


def test_the_presets_are_as_large_as_their_layers_add_up_to(
    net: DistilBertForSequenceClassification,
) -> None:
    def parameters(*, width: int, inner: int, layers: int, words: int) -> int:
        embeddings = (words + 512) * width + 2 * width
        attention = 4 * (width * width + width)
        feed_forward = 2 * width * inner + inner + width
        layer = attention + feed_forward + 2 * 2 * width
        head = width * width + width + 4 * width + 4
        return embeddings + layers * layer + head

    want = parameters(width=384, inner=1536, layers=6, words=30522)
    assert model.describe("minilm", net=net)["num_parameters"] == want
    assert f"{want / 1e6:.1f}M" == "22.7M"  # what --help says
    tiny = model.build("tiny", dropout=0.1, vocabulary_size=4000)
    want = parameters(width=64, inner=128, layers=2, words=4000)
    assert model.describe("tiny", net=tiny)["num_parameters"] == want
    large = parameters(width=768, inner=3072, layers=6, words=30522)
    assert f"{large / 1e6:.0f}M" == "67M"


def test_every_preset_names_its_origin_and_its_licence() -> None:
    settings = TrainSettings.model_fields["preset"].annotation
    assert settings is not None
    assert set(model.PRESETS) == set(settings.__args__)
    for preset in model.PRESETS.values():
        assert preset.origin
        assert preset.licence
        assert preset.name in model.PRESETS


def test_a_model_knows_its_labels_and_drops_as_much_as_it_was_told(
    net: DistilBertForSequenceClassification,
) -> None:
    assert [net.config.id2label[i] for i in range(4)] == list(LABEL_NAMES)
    assert net.config.label2id == {name: i for i, name in enumerate(LABEL_NAMES)}
    strong = model.build("tiny", dropout=0.25, vocabulary_size=50)
    rates = [m.p for m in strong.modules() if isinstance(m, torch.nn.Dropout)]
    assert len(rates) >= 5
    assert set(rates) == {0.25}


def test_the_new_layers_follow_the_seed() -> None:
    def head(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return model.build("tiny", dropout=0, vocabulary_size=50).classifier.weight

    assert torch.equal(head(1), head(1))
    assert not torch.equal(head(1), head(2))


def test_a_missing_package_is_an_error_whose_cure_can_be_typed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model.check("minilm")  # negative control: it is installed here
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for need in (
        lambda: model.check("minilm"),
        lambda: model.load_tokenizer("minilm", max_length=8),
        lambda: model.build("minilm", dropout=0, vocabulary_size=1),
    ):
        with pytest.raises(ModelError, match=r"pip install .*or the preset tiny"):
            need()
    model.check("tiny")  # needs nothing


def test_weights_that_do_not_fit_are_an_error(
    net: DistilBertForSequenceClassification,
) -> None:
    shallow = DistilBertModel(DistilBertConfig(dim=384, n_heads=12, n_layers=5))
    with pytest.raises(ModelError, match="do not fit"):
        minilm.load_weights(shallow)


# --- Tokenizers -----------------------------------------------------------------


def test_tokenizers_cut_at_the_maximum_length_and_know_no_token_types(
    tmp_path: Path,
) -> None:
    for preset in ("tiny", "minilm"):
        tokenizer = model.load_tokenizer(preset, max_length=8, texts=TEXTS)
        tokenizer.save_pretrained(tmp_path / preset)
        # WHY also reopened: rank 1 and the served model read what rank 0 saved.
        for opened in (tokenizer, AutoTokenizer.from_pretrained(tmp_path / preset)):
            assert opened.model_max_length == 8
            inputs = opened("oil prices " * 50, truncation=True)
            assert sorted(inputs) == ["attention_mask", "input_ids"]
            assert len(inputs["input_ids"]) == 8


def test_every_text_has_a_first_token_to_judge_it_by() -> None:
    """DistilBERT judges by the first token: an unreadable text must have one, too."""
    for preset in ("tiny", "minilm"):
        tokenizer = model.load_tokenizer(preset, max_length=8, texts=TEXTS)
        for text in ("\u200b", "oil", "¤" * 40):
            ids = tokenizer(text, truncation=True)["input_ids"]
            assert ids[0] == tokenizer.cls_token_id
            assert ids[-1] == tokenizer.sep_token_id


def many_texts() -> list[str]:
    rows = NewswireSource().rows("train", num_rows=300, seed=0)
    return [row.text for row in rows] + ["Ünïcode № 5 ½ 学"] * 2


def test_tinys_vocabulary_is_the_same_every_time() -> None:
    vocabularies = [
        model.load_tokenizer("tiny", max_length=8, texts=texts).get_vocab()
        for texts in (many_texts(), iter(many_texts()), many_texts()[:250])
    ]
    assert vocabularies[0] == vocabularies[1]
    assert vocabularies[0] != vocabularies[2]  # it does depend on the texts
    assert len(vocabularies[0]) > 1000
    assert [vocabularies[0][mark] for mark in presets.SPECIAL_TOKENS] == [0, 1, 2, 3, 4]


def test_the_tokenizers_own_training_is_not() -> None:
    """Negative control: it numbers in the order of a hash table with a random key."""
    vocabularies = []
    for _ in range(2):
        trainer = BertWordPieceTokenizer(lowercase=True)
        trainer.train_from_iterator(
            many_texts(), vocab_size=4000, min_frequency=2, show_progress=False
        )
        vocabularies.append(trainer.get_vocab())
    assert vocabularies[0] != vocabularies[1]


def test_tiny_writes_unknown_words_in_pieces_and_unknown_letters_as_unknown() -> None:
    tokenizer = model.load_tokenizer("tiny", max_length=64, texts=many_texts())
    tokens = tokenizer.tokenize("Zzyzzx said: 學")
    assert tokens[:2] == ["z", "##z"]
    assert tokens[-3:] == ["said", ":", "[UNK]"]


# --- distilbert, from the Hub ---------------------------------------------------

FROM_HUB = """
import json, time
from distrinews import model
from distrinews.errors import HubUnreachableError
start, result = time.perf_counter(), {}
try:
    model.check("distilbert")
    tokenizer = model.load_tokenizer("distilbert", max_length=12)
    net = model.build("distilbert", dropout=0.25, vocabulary_size=len(tokenizer))
    result["length"] = tokenizer.model_max_length
    result["names"] = tokenizer.model_input_names
    result["config"] = [net.config.dropout, net.config.seq_classif_dropout]
    result["labels"] = [net.config.id2label[i] for i in range(4)]
    result["body"] = float(net.distilbert.embeddings.word_embeddings.weight.sum())
    result["dtype"] = str(net.dtype)
except HubUnreachableError as error:
    result["error"] = str(error)
result["seconds"] = time.perf_counter() - start
print(json.dumps(result))
"""


def from_hub(home: Path, endpoint: str, *, offline: bool) -> dict[str, object]:
    env = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    env |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint}
    env |= {"HF_HUB_OFFLINE": str(int(offline)), "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FROM_HUB],
        env=env,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def write_distilbert(folder: Path) -> DistilBertModel:
    """A small DistilBERT with its vocabulary, as the Hub's repository holds it."""
    tokenizer = model.load_tokenizer("tiny", max_length=512, texts=TEXTS)
    tokenizer.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(tokenizer.get_vocab()), "utf-8")
    sizes = {"dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2}
    config = DistilBertConfig(vocab_size=len(tokenizer), **sizes)
    body = DistilBertModel(config)
    body.save_pretrained(folder)
    return body


@pytest.mark.slow
def test_distilbert_opens_from_a_cached_copy_without_the_hub(tmp_path: Path) -> None:
    root = tmp_path / "hub" / "models--distilbert--distilbert-base-uncased"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(COMMIT, "utf-8")
    body = write_distilbert(root / "snapshots" / COMMIT)
    result = from_hub(tmp_path, "http://127.0.0.1:9", offline=True)
    assert "error" not in result, result
    assert result["length"] == 12
    assert result["names"] == ["input_ids", "attention_mask"]
    assert result["config"] == [0.25, 0.25]
    assert result["labels"] == list(LABEL_NAMES)
    assert result["dtype"] == "torch.float32"
    want = body.embeddings.word_embeddings.weight.sum().item()
    assert result["body"] == pytest.approx(want, rel=1e-6), "not the pretrained weights"


@pytest.mark.slow
@pytest.mark.parametrize("as_pickle", [False, True])
def test_distilbert_opens_from_a_folder_by_its_path(
    as_pickle: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a data set of Kaggle holds it, in the older format, too; the Hub is away."""
    folder = tmp_path / "distilbert-base-uncased"
    body = write_distilbert(folder)
    if as_pickle:
        torch.save(body.state_dict(), folder / "pytorch_model.bin")
        # As in the repository's first years: a vocabulary, and nothing more about it.
        for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
    monkeypatch.setenv(presets.FOLDER_VARIABLE, str(folder))
    result = from_hub(tmp_path / "empty", "http://127.0.0.1:9", offline=False)
    assert "error" not in result, result
    want = body.embeddings.word_embeddings.weight.sum().item()
    assert result["body"] == pytest.approx(want, rel=1e-6), "not the folder's weights"
    if not as_pickle:  # Negative control: without the variable the Hub is asked.
        monkeypatch.delenv(presets.FOLDER_VARIABLE)
        unnamed = from_hub(tmp_path / "empty", "http://127.0.0.1:9", offline=True)
        assert "error" in unnamed


def test_a_folder_that_is_not_distilberts_is_refused_before_any_process_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    monkeypatch.setenv(presets.FOLDER_VARIABLE, str(folder))
    with pytest.raises(ModelError, match="it is empty"):
        model.check("distilbert")
    folder.mkdir()
    (folder / "vocab.txt").write_text("[PAD]", "utf-8")
    wanted = (
        r"no config\.json, no model\.safetensors or pytorch_model\.bin in it; it holds"
    )
    with pytest.raises(ModelError, match=f"{wanted} vocab"):
        model.check("distilbert")
    (folder / "model.safetensors").touch()
    for text, kind in (('{"model_type": "bert"}', "'bert'"), ("{", "None")):
        (folder / "config.json").write_text(text, "utf-8")
        with pytest.raises(ModelError, match=f"model_type {kind}, not 'distilbert'"):
            model.check("distilbert")
    # Positive control.
    (folder / "config.json").write_text('{"model_type": "distilbert"}', "utf-8")
    model.check("distilbert")


def test_the_card_of_a_model_names_no_folder_of_the_trainers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = torch.nn.Linear(1, 1)
    assert "Hub" in str(model.describe("distilbert", net=net)["origin"])
    monkeypatch.setenv(presets.FOLDER_VARIABLE, "/home/me/secret")
    described = model.describe("distilbert", net=net)
    assert "secret" not in str(described)
    assert described["licence"] == "unknown"
    # The other presets do not come from there.
    assert model.describe("tiny", net=net)["licence"] == "MIT (this project)"


@pytest.mark.parametrize("answers", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_unreachable_hub_is_known_within_ten_seconds(
    tmp_path: Path, answers: bool
) -> None:
    """Nobody listens; or somebody does and never says a word (also in test_hub)."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        if not answers:
            listener.close()
        result = from_hub(tmp_path, endpoint, offline=False)
    assert "--preset minilm" in str(result["error"])
    assert float(str(result["seconds"])) < 10
