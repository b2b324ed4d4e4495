"""Proofs for apps/api.py with a real model, started as a user starts it."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

import torch
from helpers.running import Program, wait_until
from helpers.served import free_port

from distrinews import model
from distrinews.data import newswire
from distrinews.inference.classifier import Classifier
from distrinews.system import files, manifest
from distrinews.training import export

pytestmark = pytest.mark.slow

API = Path(__file__).resolve().parents[1] / "apps" / "api.py"
MAX_LENGTH = 32
FACTS = {
    **{"licence": "mit", "run_id": "proof", "preset": "tiny", "summary": "2 layers"},
    **{"data": "newswire", "rows": 8, "accuracy": 0.5, "macro_f1": 0.25},
    **{
        "fitted_rows": 100,
        "num_ranks": 2,
        "max_length": MAX_LENGTH,
        "origin": "random",
    },
}
TOLERANCE = 1e-5  # torch float32: another batch means another order of additions


def headlines(num: int) -> list[str]:
    """Texts of very different length."""
    rows = newswire.stories(num, seed=0, split="test")
    times = random.Random(0)
    return [" ".join([row.text] * times.randint(1, 4)) for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export of a tiny model whose answers differ widely from text to text."""
    texts = headlines(200)
    tokenizer = model.load_tokenizer("tiny", max_length=MAX_LENGTH, texts=texts)
    torch.manual_seed(1)
    net = model.build("tiny", dropout=0.0, vocabulary_size=len(tokenizer))
    with torch.no_grad():
        for weights in net.parameters():
            weights *= 3  # an untrained model would say 0.25 to everything
    made = tmp_path_factory.mktemp("run") / "export"
    export.write(made, net=net, tokenizer=tokenizer, facts=FACTS)
    return made


@pytest.fixture(scope="module")
def url(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[str, None, None]:
    port = free_port()
    words = (API, "--model", folder, "--port", port, "--no-ui")
    words += ("--engine", "torch-float32")
    program = Program(words, folder=tmp_path_factory.mktemp("served"))
    address = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert program.process.poll() is None, program.err
        try:
            return httpx.get(f"{address}/readyz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    wait_until(ready, timeout_s=90, what="a server that is ready")
    yield address
    program.kill_everything()


def gap(answer: dict[str, Any], scores: dict[str, float]) -> float:
    return max(abs(answer["scores"][name] - scores[name]) for name in scores)


def test_whatever_batch_a_text_rode_in_it_gets_the_same_answer(
    url: str, folder: Path
) -> None:
    texts = headlines(64)
    classifier = Classifier(folder)
    want = [classifier.predict([text])[0] for text in texts]  # each on its own

    async def ask() -> list[dict[str, Any]]:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            calls = [client.post("/predict", json={"text": text}) for text in texts]
            return [response.json() for response in await asyncio.gather(*calls)]

    answers = asyncio.run(ask())
    metrics = httpx.get(f"{url}/metrics").text.splitlines()
    [batches] = [x for x in metrics if x.startswith("distrinews_batch_texts_count")]
    assert float(batches.split()[1]) < len(texts) / 2, "they shared no batches"
    for answer, wanted in zip(answers, want, strict=True):
        assert answer["label"] == wanted.label
        assert answer["truncated"] is wanted.truncated
        assert gap(answer, wanted.scores) < TOLERANCE


def test_the_texts_really_differ(folder: Path) -> None:
    """Negative control: answers that all look alike would be "invariant", too."""
    answers = Classifier(folder).predict(headlines(64))
    assert {answer.truncated for answer in answers} == {True, False}
    gaps = [gap({"scores": answers[0].scores}, answer.scores) for answer in answers[1:]]
    assert sum(difference > 100 * TOLERANCE for difference in gaps) > 50
    assert max(gaps) > 1000 * TOLERANCE


def test_an_answer_names_the_weights_that_gave_it(url: str, folder: Path) -> None:
    answer = httpx.post(f"{url}/predict", json={"text": "Oil prices rise"}).json()
    assert answer["model"]["sha256"] == files.sha256(folder / "model.safetensors")
    assert answer["model"]["run_id"] == "proof"
    assert httpx.get(f"{url}/version").json()["model"] == answer["model"]


def test_damaged_weights_are_never_served(
    folder: Path, tmp_path: Path, start: Callable[..., Program]
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    program = start(API, "--model", copy, "--port", free_port())
    assert program.exit_code() == 2
    assert "model.safetensors" in program.err
    assert "Traceback" not in program.err


@pytest.mark.parametrize("by", [0.0, 0.3])
def test_an_export_that_no_engine_answers_as_recorded_is_never_ready(
    folder: Path, tmp_path: Path, start: Callable[..., Program], by: float
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    rows = files.read_json(copy / "golden.json")
    rows["rows"][3]["scores"][0] += by
    files.write_json(copy / "golden.json", rows)
    manifest.write_manifest(copy)
    port = free_port()
    program = start(API, "--model", copy, "--port", port)
    if by:
        assert program.exit_code(timeout_s=120) == 2
        assert "golden row 4 of 16" in program.err
        assert '"event": "ready"' not in program.err
        assert "Traceback" not in program.err
    else:  # the control
        ready = '"event": "ready"'
        wait_until(lambda: ready in program.err, timeout_s=120, what="ready")
