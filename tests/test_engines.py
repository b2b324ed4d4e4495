"""Proofs for inference.engines and what it needs: faster, and the same answers."""

from __future__ import annotations

import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers import exports
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from distrinews import model
from distrinews.cli import model_commands, parser
from distrinews.data import newswire
from distrinews.data.labels import LABEL_NAMES
from distrinews.errors import ModelError, OutputError, SettingsError
from distrinews.inference import engines, golden, onnx_export, parity
from distrinews.inference.bundle import WEIGHTS, open_bundle
from distrinews.inference.classifier import (
    Classifier,
    Encoded,
    Identity,
    Prediction,
    open_best,
)
from distrinews.system import files, manifest
from distrinews.training import export

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
MAX_LENGTH = 48
TEXTS = [row.text for row in newswire.stories(40, seed=5, split="test")]
FACTS = exports.facts(max_length=MAX_LENGTH)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a tiny model whose answers differ widely from text to text."""
    texts = [row.text for row in newswire.stories(200, seed=1, split="train")]
    tokenizer = model.load_tokenizer("tiny", max_length=MAX_LENGTH, texts=texts)
    torch.manual_seed(1)
    net = model.build("tiny", dropout=0.0, vocabulary_size=len(tokenizer))
    with torch.no_grad():
        for weights in net.parameters():
            weights *= 3  # an untrained model would say 0.25 to everything
        net.classifier.weight *= 5
        padded = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
        net.classifier.bias -= net(**padded).logits.mean(0)  # every class is said
    folder = tmp_path_factory.mktemp("run") / "export"
    export.write(folder, net=net, tokenizer=tokenizer, facts=FACTS)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a proof may spoil, and a user's cache of its own."""
    monkeypatch.setenv("DISTRINEWS_CACHE", str(tmp_path / "user-cache"))
    return shutil.copytree(original, tmp_path / "model" / "export")


def scores(answers: Sequence[Prediction]) -> np.ndarray[Any, Any]:
    return np.array([list(answer.scores.values()) for answer in answers])


def max_difference(left: Classifier, right: Classifier) -> float:
    return float(abs(scores(left.predict(TEXTS)) - scores(right.predict(TEXTS))).max())


# --- The same answers -----------------------------------------------------------


def test_onnx_float32_gives_the_references_scores(folder: Path) -> None:
    reference = Classifier(folder)
    assert max_difference(reference, Classifier(folder, engine="onnx-float32")) < 1e-5
    assert scores(reference.predict(TEXTS)).std(axis=0).min() > 0.01  # they do differ


def test_a_changed_weight_does_not_pass_for_rounding(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control: a graph with one matrix not transposed is far away."""
    build = onnx_export.onnx_graph.build

    def wrong(weights: dict[str, Any], config: dict[str, Any]) -> Any:
        name = "distilbert.transformer.layer.0.attention.out_lin.weight"
        return build({**weights, name: weights[name].T}, config)

    monkeypatch.setattr(onnx_export.onnx_graph, "build", wrong)
    spoiled = Classifier(folder, engine="onnx-float32")
    assert max_difference(Classifier(folder), spoiled) > 1e-3


def test_int8_is_near_the_reference_and_stored_in_a_third_of_the_bytes(
    folder: Path,
) -> None:
    small = Classifier(folder, engine="onnx-int8")
    assert 0 < max_difference(Classifier(folder), small) < small.tolerance
    [file] = folder.parent.glob("export-engines/*/*.onnx")
    assert file.stat().st_size < (folder / WEIGHTS).stat().st_size / 2


# --- Batch invariance -----------------------------------------------------------


def in_random_batches(
    classifier: Classifier, items: list[Encoded], *, seed: int
) -> np.ndarray[Any, Any]:
    """Scores of all items, each in a random group in a random order."""
    rng = random.Random(seed)
    order = rng.sample(range(len(items)), len(items))
    batched = np.zeros((len(items), len(LABEL_NAMES)))
    while order:
        size = rng.randint(1, 12)
        group, order = order[:size], order[size:]
        batched[group] = scores(classifier.predict_encoded([items[i] for i in group]))
    return batched


@pytest.mark.parametrize(
    ("engine", "allowed"),
    [("torch-float32", 1e-5), ("onnx-float32", 0.0), ("onnx-int8", 0.0)],
)
def test_a_texts_scores_do_not_depend_on_its_company(
    folder: Path, engine: str, allowed: float
) -> None:
    classifier = Classifier(folder, engine=engine, num_threads=1)
    cut = [text[: 10 + 7 * n] for n, text in enumerate(TEXTS)]  # 2 to 48 tokens
    items = [classifier.encode(text) for text in cut]
    assert len({item.num_tokens for item in items}) > 10
    alone = np.concatenate([scores(classifier.predict_encoded([i])) for i in items])
    for seed in range(10):
        gap = abs(in_random_batches(classifier, items, seed=seed) - alone).max()
        assert gap <= allowed


class Forgetful(engines.TorchEngine):
    """A torch engine that shows the model its padding."""

    def _forward(self, rows: Sequence[Sequence[int]]) -> engines.Logits:
        longest = max(len(row) for row in rows)
        padded = [(*row, *[self.pad_id] * (longest - len(row))) for row in rows]
        return super()._forward(padded)


def test_padding_that_is_read_breaks_the_invariance(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Negative control."""
    monkeypatch.setattr(engines, "TorchEngine", Forgetful)
    classifier = Classifier(folder)
    items = [classifier.encode(text[: 10 + 7 * n]) for n, text in enumerate(TEXTS)]
    alone = np.concatenate([scores(classifier.predict_encoded([i])) for i in items])
    assert abs(in_random_batches(classifier, items, seed=0) - alone).max() > 1e-3


def test_batches_by_length_hold_every_row_once_within_the_budget() -> None:
    rng = random.Random(3)
    for _ in range(50):
        lengths = [rng.randint(1, 60) for _ in range(rng.randint(0, 40))]
        batches = list(engines.batches_by_length(lengths, token_budget=100))
        assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
        for batch in batches:
            longest = max(lengths[i] for i in batch)
            assert len(batch) == 1 or len(batch) * longest <= 100
        flat = [lengths[i] for batch in batches for i in batch]
        assert flat == sorted(flat)


# --- Encoding -------------------------------------------------------------------


def test_encoding_equals_transformers_tokenizer(folder: Path) -> None:
    classifier = Classifier(folder)
    for text in [*TEXTS, "a", "Хоккей ¤ \u200b 你好", "x " * 500, "\x00 a\tb\r\n"]:
        want = classifier.tokenizer(text, truncation=True)["input_ids"]
        item = classifier.encode(text)
        assert list(item.ids) == want
        assert item.num_tokens == len(want)
        assert item.truncated == (
            len(classifier.tokenizer(text)["input_ids"]) > MAX_LENGTH
        )
    assert classifier.encode("x " * 500).truncated


@pytest.mark.parametrize("text", ["", " \n\t", "\ud800", "fine but \udfff"])
def test_a_text_that_cannot_be_judged_fails_alone(folder: Path, text: str) -> None:
    classifier = Classifier(folder)
    with pytest.raises(ModelError, match="the text"):
        classifier.encode(text)
    with pytest.raises(ModelError, match="text 2 of 3"):
        classifier.predict(["Oil", text, "Gas"])


def test_the_identity_is_of_the_weights_and_the_run(folder: Path) -> None:
    listed = json.loads((folder / "manifest.json").read_text("utf-8"))
    digest = listed["files"]["model.safetensors"]["sha256"]
    assert Classifier(folder).identity == Identity("tiny/proof", digest, "proof")


def test_in_the_hubs_cache_the_repository_is_the_name(
    original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTRINEWS_CACHE", str(tmp_path / "mine"))
    snapshots = tmp_path / "models--ann--news-classifier" / "snapshots"
    copy = shutil.copytree(original, snapshots / "abc123")
    assert open_best(copy).identity.id == "ann/news-classifier"
    assert [path.name for path in snapshots.iterdir()] == [
        "abc123"
    ]  # nothing beside it
    assert list((tmp_path / "mine").rglob("onnx-int8.onnx"))


# --- What is refused ------------------------------------------------------------


def test_pickled_weights_are_refused_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    with pytest.raises(ModelError, match=r"pickled weights only: pytorch_model\.bin"):
        Classifier(tmp_path)


def test_code_of_its_own_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["auto_map"] = {"AutoModelForSequenceClassification": "evil.Model"}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    manifest.write_manifest(folder)
    with pytest.raises(ModelError, match="run its own Python code"):
        Classifier(folder)


def test_an_unknown_engine_names_the_known_ones(folder: Path) -> None:
    for opening in (Classifier, open_best):
        with pytest.raises(ModelError, match="no engine 'fast'") as refused:
            opening(folder, engine="fast")
        assert "onnx-int8" in refused.value.fix


def test_a_missing_package_is_named_with_the_command_that_brings_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r'-c constraints.txt -e "\.\[serve\]"'):
        Classifier(folder, engine="onnx-int8")
    best = open_best(folder)
    assert best.engine_name == "torch-float32"
    assert "onnxruntime" in (best.fallback_reason or "")
    assert best.predict(TEXTS) == Classifier(folder).predict(TEXTS)


# --- The best engine ------------------------------------------------------------


def test_the_first_start_makes_int8_and_later_ones_find_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_best(folder)
    assert (first.engine_name, first.fallback_reason) == ("onnx-int8", None)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(onnx_export, "make", never)
    assert open_best(folder).predict(TEXTS) == first.predict(TEXTS)


def spoil_a_byte(kept: Path) -> None:
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 255
    kept.write_bytes(content)


def cut_it_short(kept: Path) -> None:
    kept.write_bytes(kept.read_bytes()[:1000])


def say_it_is_of_other_weights(kept: Path) -> None:
    origin = kept.with_name("origin.json")
    content = json.loads(origin.read_text("utf-8")) | {"weights_sha256": "0" * 64}
    origin.write_text(json.dumps(content), "utf-8")
    manifest.write_manifest(kept.parent)


def lose_it(kept: Path) -> None:
    kept.unlink()


@pytest.mark.parametrize(
    "damage", [spoil_a_byte, cut_it_short, say_it_is_of_other_weights, lose_it]
)
def test_a_damaged_kept_model_is_made_again(folder: Path, damage: Any) -> None:
    before = open_best(folder).predict(TEXTS)
    [kept] = folder.parent.glob("export-engines/*/*.onnx")
    intact = kept.read_bytes()
    damage(kept)
    again = open_best(folder)
    assert (again.engine_name, again.fallback_reason) == ("onnx-int8", None)
    assert again.predict(TEXTS) == before
    assert kept.read_bytes() == intact


def miss_the_golden_rows(folder: Path, *, by: float) -> None:
    content = json.loads((folder / golden.FILE).read_text("utf-8"))
    content["rows"][3]["scores"][0] += by
    (folder / golden.FILE).write_text(json.dumps(content), "utf-8")
    manifest.write_manifest(folder)


def test_an_export_whose_golden_rows_no_engine_gives_is_not_opened(
    folder: Path,
) -> None:
    miss_the_golden_rows(folder, by=0.0)  # the control
    assert open_best(folder).engine_name == "onnx-int8"
    miss_the_golden_rows(folder, by=0.3)
    with pytest.raises(ModelError, match=r"golden row 4 of 16 lie up to 0\.") as error:
        open_best(folder)
    assert error.value.what.count("golden row 4") == len(engines.NAMES)


def test_the_next_engine_is_taken_where_only_int8_is_off(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(engines.TOLERANCES, "onnx-int8", 1e-9)
    best = open_best(folder)
    assert best.engine_name == "onnx-float32"
    assert (best.fallback_reason or "").startswith("onnx-int8: its scores")


@pytest.mark.parametrize("row", [0, 9])
def test_a_score_that_is_no_number_misses_the_golden_rows(
    folder: Path, row: int
) -> None:
    export = open_bundle(folder)
    recorded = golden.read(export)
    assert recorded is not None
    spoilt = [list(scores) for scores in recorded.scores]
    assert golden.mismatch(export, lambda _: spoilt, tolerance=0.1) is None  # control
    spoilt[row] = [float("nan")] * 4
    reason = golden.mismatch(export, lambda _: spoilt, tolerance=0.1)
    assert "up to nan" in (reason or "")


def test_an_export_without_golden_rows_still_opens(folder: Path) -> None:
    (folder / golden.FILE).unlink()
    manifest.write_manifest(folder)
    best = open_best(folder)
    assert best.engine_name == "torch-float32"
    assert "no golden rows" in (best.fallback_reason or "")


@pytest.mark.skipif(sys.platform == "win32", reason="folders' permissions are POSIX's")
def test_beside_a_read_only_export_the_users_cache_is_taken(folder: Path) -> None:
    shutil.rmtree(folder.parent / "export-engines", ignore_errors=True)
    # WHY a file in the way: root writes into read-only folders, too.
    (folder.parent / "export-engines").write_text("in the way", "utf-8")
    best = open_best(folder)
    assert (best.engine_name, best.fallback_reason) == ("onnx-int8", None)
    assert list(pathlib.Path(os.environ["DISTRINEWS_CACHE"]).rglob("onnx-int8.onnx"))


def test_with_a_cache_that_was_named_nothing_is_written_elsewhere(
    folder: Path, tmp_path: Path
) -> None:
    assert open_best(folder, cache=tmp_path / "here").engine_name == "onnx-int8"
    assert list((tmp_path / "here").rglob("*.onnx"))
    assert [path.name for path in folder.parent.iterdir()] == ["export"]


SECOND_START = """
import sys
from distrinews.inference.classifier import open_best
best = open_best(sys.argv[1])
best.predict(["Oil prices rise as storm nears the coast"])
print(best.engine_name, sorted({"torch", "transformers", "onnx"} & set(sys.modules)))
"""


@pytest.mark.slow
def test_serving_with_onnx_imports_neither_torch_nor_transformers(folder: Path) -> None:
    open_best(folder)
    outputs = []
    for script in (
        SECOND_START,
        SECOND_START.replace("1])", "1], engine='torch-float32')", 1),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, str(folder)],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        outputs.append(done.stdout.strip())
    assert outputs[0] == "onnx-int8 []"
    assert outputs[1].startswith("torch-float32 ['torch', 'transformers'")  # control


# --- What was verified is what is loaded ----------------------------------------


@pytest.mark.parametrize("name", [WEIGHTS, "tokenizer.json"])
@pytest.mark.parametrize("engine", [engines.REFERENCE, "onnx-float32"])
def test_a_file_that_is_replaced_after_the_check_is_not_loaded(
    folder: Path, engine: str, name: str
) -> None:
    bundle = open_bundle(folder)
    Classifier(bundle, engine=engine)  # the control
    shutil.rmtree(folder.parent / "export-engines", ignore_errors=True)
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(ModelError, match=f"{name} has another content"):
        Classifier(bundle, engine=engine)


def test_a_kept_model_that_is_replaced_after_the_check_is_not_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = open_bundle(folder)
    path = onnx_export.ensure(bundle, "onnx-float32")
    assert onnx_export.read(bundle, "onnx-float32") == path.read_bytes()  # the control
    monkeypatch.setattr(onnx_export, "ensure", lambda *_, **__: path)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelError, match="was replaced"):
        onnx_export.read(bundle, "onnx-float32")


def test_weights_that_are_cut_short_later_harm_nobody(folder: Path) -> None:
    """A mapped file would kill the process with SIGBUS."""
    classifier = Classifier(folder)
    before = classifier.predict(TEXTS)
    os.truncate(folder / WEIGHTS, 0)
    assert classifier.predict(TEXTS) == before


def test_a_configuration_cannot_name_other_weights(folder: Path) -> None:
    before = Classifier(folder).predict(TEXTS)
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    others = {name: -tensor for name, tensor in tensors.items()}
    safetensors.torch.save_file(others, folder / "x.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["transformers_weights"] = "x.safetensors"
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    listed = json.loads((folder / manifest.MANIFEST).read_text("utf-8"))
    entry = listed["files"]["config.json"]
    entry["bytes"] = (folder / "config.json").stat().st_size
    entry["sha256"] = files.sha256(folder / "config.json")
    (folder / manifest.MANIFEST).write_text(json.dumps(listed), "utf-8")
    assert Classifier(folder).predict(TEXTS) == before
    # Negative control: transformers itself follows that name.
    net = AutoModelForSequenceClassification.from_pretrained(folder)
    assert torch.equal(net.classifier.bias, others["classifier.bias"])


def test_the_tokenizer_takes_no_file_that_the_manifest_does_not_list(
    folder: Path,
) -> None:
    foreign = {"chat_template": "foreign"}
    (folder / "chat_template.json").write_text(json.dumps(foreign), "utf-8")
    (folder / "chat_template.jinja").write_text("foreign", "utf-8")
    assert Classifier(folder).tokenizer.chat_template is None
    # Negative control: transformers itself does.
    assert AutoTokenizer.from_pretrained(folder).chat_template == "foreign"


# --- Disks ----------------------------------------------------------------------


def test_a_folder_for_temporary_files_that_takes_nothing_is_not_needed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(FileNotFoundError):  # the control
        tempfile.mkdtemp()
    best = open_best(folder)
    assert (best.engine_name, best.fallback_reason) == ("onnx-int8", None)
    assert tempfile.tempdir == str(tmp_path / "missing")


def test_where_int8_cannot_be_made_the_next_engine_is_taken_and_the_disk_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DecodeError(Exception):
        """As protobuf's, for half a file."""

    def fail(*_: object) -> None:
        raise DecodeError("Error parsing message")

    monkeypatch.setattr(onnx_export, "_save_int8", fail)
    best = open_best(folder)
    assert best.engine_name == "onnx-float32"
    assert "DecodeError" in (best.fallback_reason or "")
    assert os.environ["DISTRINEWS_CACHE"] in (best.fallback_reason or "")


@pytest.mark.parametrize(("age_s", "stays"), [(3600, False), (0, True)])
def test_a_killed_starts_draft_is_swept_and_one_that_is_being_written_is_not(
    folder: Path, age_s: float, stays: bool
) -> None:
    draft = folder.parent / "export-engines" / ".onnx-int8.0123abcd"
    draft.mkdir(parents=True)
    (draft / "float32.onnx").write_bytes(b"half")
    written_s = time.time() - age_s
    for path in (draft / "float32.onnx", draft):
        os.utime(path, (written_s, written_s))
    assert open_best(folder).engine_name == "onnx-int8"
    assert draft.exists() == stays


# --- The report and the model repository ----------------------------------------


class DependsOnNeighbours(Classifier):
    """Scores move with the number of texts in the batch."""

    def predict_encoded(self, items: Sequence[Encoded]) -> list[Prediction]:
        answers = super().predict_encoded(items)
        return answers if len(items) == 1 else answers[-1:] + answers[:-1]


def test_the_report_counts_what_it_says(folder: Path) -> None:
    rows = list(newswire.stories(60, seed=2, split="test"))
    bundle = open_bundle(folder)
    small = Classifier(bundle, engine="onnx-int8")
    report = parity.measure(bundle, small, rows=rows)
    labels = [p.label for p in small.predict([row.text for row in rows])]
    reference_labels = [
        p.label for p in Classifier(bundle).predict([r.text for r in rows])
    ]
    right = [
        label == LABEL_NAMES[row.label] for label, row in zip(labels, rows, strict=True)
    ]
    same = [
        label == reference_label
        for label, reference_label in zip(labels, reference_labels, strict=True)
    ]
    assert report.accuracy == pytest.approx(sum(right) / 60)
    assert report.label_agreement == pytest.approx(sum(same) / 60)
    assert report.label_flips_in_company == report.largest_difference_in_company == 0
    assert report.golden_difference is not None
    assert 0 < report.golden_difference < report.tolerance
    assert report.num_bytes < report.reference_bytes / 2
    assert "| accuracy " in report.as_table()


def test_labels_that_change_in_company_are_counted(folder: Path) -> None:
    """Negative control of the zero above."""
    classifier = DependsOnNeighbours(folder)
    items = [classifier.encode(text) for text in TEXTS]
    flips, gap = parity.label_flips_when_batched(classifier, items)
    assert flips > 0.1
    assert gap > 0.01


@pytest.mark.slow
def test_the_command_writes_a_model_repository_that_opens_with_its_own_int8(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, report = tmp_path / "repository", tmp_path / "report.json"
    words = ("--model", folder, "--engine", "onnx-int8", "--test-rows", "40")
    done = subprocess.run(
        [sys.executable, "-m", "distrinews", "export", *map(str, words)]
        + ["--hub", str(out), "--report", str(report)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "same label" in done.stdout
    figures = json.loads(report.read_text("utf-8"))["figures"]["onnx-int8"]
    assert figures["num_texts"] == 40
    card = (out / "README.md").read_text("utf-8")
    assert card.startswith("---\nlicense: mit")
    assert "## onnx-int8.onnx" in card

    def never(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(onnx_export, "make", never)
    best = open_best(out)
    assert (best.engine_name, best.fallback_reason) == ("onnx-int8", None)
    assert best.identity.sha256 == Classifier(folder).identity.sha256
    # Negative control: its ONNX file is vouched for like every other.
    spoil_a_byte(out / "onnx-int8.onnx")
    with pytest.raises(ModelError, match=r"onnx-int8\.onnx has another content"):
        open_best(out)


def test_publishing_replaces_nothing_but_an_earlier_model_folder(
    folder: Path, tmp_path: Path
) -> None:
    bundle = open_bundle(folder)
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter.tex").write_text("years of work", "utf-8")
    clone = tmp_path / "clone"
    export.publish(bundle, out=clone)
    export.publish(bundle, out=clone)  # an earlier one: replaced
    (clone / ".git").mkdir()
    for taken in (precious, clone, precious / "chapter.tex"):
        with pytest.raises(OutputError, match="no earlier model folder"):
            export.publish(bundle, out=taken)
    assert (precious / "chapter.tex").read_text("utf-8") == "years of work"


def test_an_older_export_gets_golden_rows_when_it_is_published(
    folder: Path, tmp_path: Path
) -> None:
    (folder / golden.FILE).unlink()
    manifest.write_manifest(folder)
    export.publish(open_bundle(folder), out=tmp_path / "new")
    assert open_best(tmp_path / "new").engine_name == "onnx-int8"


def test_an_export_without_engine_or_folder_is_refused() -> None:
    args = parser.parser().parse_args(["export", "--model", "nowhere"])
    with pytest.raises(SettingsError, match="neither --engine nor --hub is given"):
        model_commands.export(args)
