"""Proofs for the app with a model of other classes than news: it follows the labels.

The same checks with a model of news are the controls: they see names and examples.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
httpx = pytest.importorskip("httpx")

import space
from helpers import tiny_export
from helpers.browsing import DESK, Visit, browser, free_port, wait_for_answer
from helpers.running import Program

from distrinews.data.labels import LABEL_NAMES
from distrinews.inference.bundle import open_bundle
from distrinews.inference.classifier import Classifier

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

API = Path(__file__).resolve().parents[1] / "apps" / "api.py"
# One of them would be a picture and a program, were it read as HTML.
OWN = ("complaint", "praise", "<img src=x onerror=alert(1)> & other")
CLASSES = {"own": OWN, "news": LABEL_NAMES}
# What is true of news only.
WORDS_OF_NEWS = ("headline", "news", "World", "Sports", "four classes", "Striker")
TEXT = "The parcel came late"


@pytest.fixture(scope="module", params=CLASSES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def export(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(kind) / "export"
    return tiny_export.write(folder, classes=CLASSES[kind])


@pytest.fixture(scope="module")
def url(
    export: Path, tmp_path_factory: pytest.TempPathFactory
) -> Generator[str, None, None]:
    port = free_port()
    words = (API, "--model", export, "--port", port, "--engine", "torch-float32")
    program = Program(words, folder=tmp_path_factory.mktemp("served"))
    try:
        wait_for_answer(program, f"http://127.0.0.1:{port}/readyz", timeout_s=150)
        yield f"http://127.0.0.1:{port}"
    finally:
        program.kill_everything()


def words_of_news(text: str) -> list[str]:
    """Which of them stand there; the project's own name is none."""
    text = text.lower().replace("distrinews", "")
    return [word for word in WORDS_OF_NEWS if word.lower() in text]


def test_every_answer_has_the_models_classes(kind: str, url: str, export: Path) -> None:
    classes = list(CLASSES[kind])
    answer = httpx.post(f"{url}/predict", json={"text": TEXT}).json()
    assert list(answer["scores"]) == classes
    [want] = Classifier(export).predict([TEXT])
    assert answer["label"] == want.label
    assert answer["scores"] == pytest.approx(want.scores, abs=1e-5)
    assert httpx.get(f"{url}/version").json()["labels"] == classes


def test_the_page_of_the_api_and_the_schema_hold_for_any_classes(url: str) -> None:
    for path in ("docs", "openapi.json"):
        assert words_of_news(httpx.get(f"{url}/{path}").text) == []
    # Negative control.
    assert words_of_news("Puts a headline into one of four classes") != []


def test_the_demo_page_names_the_classes_and_has_examples_for_news_only(
    kind: str, url: str
) -> None:
    with browser() as chromium:
        visit = Visit(chromium, f"{url}/ui", size=DESK)
        visit.sees(", ".join(CLASSES[kind]))
        shown: Any = visit.page.locator("body").inner_text()
        assert (words_of_news(shown) == []) == (kind == "own")
        examples = visit.page.get_by_role("button", name="Striker")
        assert examples.count() == (kind == "news")
        visit.type(TEXT)
        visit.sees("Answered in")
        names = [bar.rpartition(" ")[0] for bar in visit.bars()]
        assert sorted(names) == sorted(CLASSES[kind])
        # A name is text: nothing of it was loaded or run.
        assert visit.page.locator("img").count() == 0
        assert visit.faults == []
        visit.keep_picture(f"classes_{kind}")


def test_the_front_page_of_a_space_names_the_classes(kind: str, export: Path) -> None:
    weights = space.Weights(open_bundle(export), None, None)
    text = space._front_page(weights, "cpu")
    classes = CLASSES[kind]
    assert f"one of {len(classes)} classes: {', '.join(classes)}." in text
    assert (words_of_news(text) == []) == (kind == "own")
