"""Proofs for a Space whose model runs in the visitor's browser, in a real one, offline.

The runtime comes from npm's registry (`--vendor`); where that cannot be reached, the
proofs in a browser are skipped.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import json
import pathlib
import re
import shutil
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

pytest.importorskip("onnxruntime")

import space
import static_space
import yaml
from helpers import site_crawl, tiny_export
from helpers.browsing import DESK, Visit, free_port, wait_for_answer
from helpers.running import Program

from distrinews.data import newswire
from distrinews.errors import DistriNewsError, ModelError, SettingsError, SetupError
from distrinews.inference import engines
from distrinews.inference.bundle import open_bundle
from distrinews.inference.classifier import Classifier
from distrinews.system import files, manifest

pytestmark = pytest.mark.timeout(300)
API = pathlib.Path(__file__).resolve().parents[1] / "apps/api.py"
TOLERANCE = engines.TOLERANCES["onnx-int8"]
# What tokenizers stumble over: accents, other scripts, emoji, control characters.
HARD_TEXTS = [
    "Zürich: Über 1’000 Gäste – naïve café",
    "東京で株価が上昇 (日経平均)",
    "Goal! ⚽🏆 2–1 👨‍👩‍👧",
    "a\u0000b\u200bc\ufeffd\u00adé\u0301",
    "ПОБЕДА в матче; İstanbul ve ılık",
    "[CLS] [SEP] [MASK] [UNK] ##ing",
    "don't  e-mail\tnews@example.org\n$3.50 100%",
]


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A tiny model with the words of BERT."""
    folder = tmp_path_factory.mktemp("model") / "export"
    return tiny_export.write(folder, vocabulary="minilm", max_length=40)


Build = Callable[..., pathlib.Path]


@pytest.fixture(scope="module")
def build(export: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    def build_it(*, vendor: bool = False, model: pathlib.Path = export) -> pathlib.Path:
        out = tmp_path_factory.mktemp("built") / "space"
        space.build_static(out, weights=space.fetch(str(model)), vendor=vendor)
        return out

    return build_it


@pytest.fixture(scope="module")
def vendored(build: Build) -> pathlib.Path:
    try:
        return build(vendor=True)
    except SetupError as error:
        if "npm was not found" in str(error) or "npm could not load" in str(error):
            pytest.skip(f"no npm registry: {error.what}")
        raise


# --- The folder -----------------------------------------------------------------


def test_the_folder_is_whole_and_the_same_input_makes_the_same_bytes(
    build: Build, export: pathlib.Path
) -> None:
    def digests(folder: pathlib.Path) -> dict[str, str]:
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return {p.relative_to(folder).as_posix(): files.sha256(p) for p in paths}

    out = build()
    found = digests(out)
    listed = files.read_json(out / space.MANIFEST)["files"]
    assert listed == {n: d for n, d in found.items() if n != space.MANIFEST}
    assert digests(build()) == found
    head = yaml.safe_load((out / "README.md").read_text("utf-8").split("---\n")[1])
    assert (head["sdk"], head["app_file"]) == ("static", "index.html")
    assert len(head["short_description"]) <= 60
    # The model's folder names its content: browsers keep it by its address.
    [model] = out.glob("model-*")
    other = tiny_export.write(export.with_name("other"), seed=2)
    [other_model] = build(model=other).glob("model-*")
    assert other_model.name != model.name
    # Negative control: nothing of a server is in it.
    assert not {"app.py", "requirements.txt", "distrinews"} & {
        path.name for path in out.iterdir()
    }


def addresses(page: str) -> list[str]:
    """Every address in a page that leads elsewhere."""
    return re.findall(r"https?://[^\s\"';]+", page)


def test_without_npm_three_pinned_files_come_from_the_cdn(build: Build) -> None:
    out = build()
    page = (out / "index.html").read_text("utf-8")
    about = files.read_json(out / "static/model.json")["browser"]
    allowed = set(addresses(page))
    assert len(allowed) == 3
    for address in allowed:
        assert re.search(r"/npm/(@[\w-]+/)?[\w-]+@\d+\.\d+\.\d+[\w.-]*/dist/", address)
    assert {about["runtime"]["mjs"], about["runtime"]["wasm"]} < allowed
    # Whatever runs is allowed by hash or by address; the policy comes first.
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)
    assert policy is not None
    assert policy.start() < page.index("<script")
    assert "unsafe-inline" not in policy[1]
    assert "unsafe-eval'" in policy[1]
    inline = re.search(r'<script type="importmap">(.*?)</script>', page)
    assert inline is not None
    digest = base64.b64encode(hashlib.sha256(inline[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy[1]


def test_a_model_that_cannot_be_checked_in_a_browser_is_refused(
    build: Build, export: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    copy = tmp_path / "export"
    shutil.copytree(export, copy)
    golden = files.read_json(copy / "golden.json")
    golden["rows"][3]["scores"] = [-1.0, 1.0, 0.5, 0.5]  # of no model
    files.write_json(copy / "golden.json", golden)
    manifest.write_manifest(copy)
    with pytest.raises(ModelError, match="golden row 4 of 16"):
        build(model=copy)
    (copy / "golden.json").unlink()
    manifest.write_manifest(copy)
    with pytest.raises(ModelError, match="no golden rows"):
        build(model=copy)


def test_what_cannot_be_vendored_leaves_nothing(
    build: Build,
    export: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights = space.Weights(open_bundle(export), None, None)
    out = tmp_path / "made/space"
    monkeypatch.setattr(static_space.shutil, "which", lambda _: None)
    with pytest.raises(SetupError, match="npm was not found"):
        space.build_static(out, weights=weights, vendor=True)
    monkeypatch.setattr(static_space.shutil, "which", lambda _: "/bin/false")
    with pytest.raises(SetupError, match="npm could not load"):
        space.build_static(out, weights=weights, vendor=True)
    assert list((tmp_path / "made").iterdir()) == []


@pytest.mark.parametrize(
    ("hardware", "kind"), [("cpu", SettingsError), ("zerogpu", SettingsError)]
)
def test_a_server_takes_no_runtime_for_browsers(
    hardware: str, kind: type[DistriNewsError], tmp_path: pathlib.Path
) -> None:
    from distrinews.cli.parser import parser

    words = ("space", "build", "--model", "x", "--out", str(tmp_path / "out"))
    arguments = parser().parse_args([*words, "--hardware", hardware, "--vendor"])
    with pytest.raises(kind, match="needs no runtime"):
        space.make(arguments)


# --- In a browser ---------------------------------------------------------------


class Site:
    """A folder on a port of this machine, as a host of files serves it."""

    def __init__(self, folder: pathlib.Path) -> None:
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        handler = functools.partial(Quiet, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self) -> str:
        return self.url

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def site(vendored: pathlib.Path) -> Generator[str, None, None]:
    with Site(vendored) as url:
        yield url


def load_model(page: Any) -> None:
    page.get_by_role("button", name="Load the model").click()
    page.locator("#loader").wait_for(state="hidden")


def loaded(chromium: Any, url: str) -> Visit:
    visit = Visit(chromium, url, size=DESK)
    load_model(visit.page)
    return visit


ASK_ALL = """async (texts) => {
  const engine = await import(new URL("static/engine.js", document.baseURI));
  return engine.askAll(texts, new AbortController().signal);
}"""


def largest_gap(answers: list[Any], others: list[Any]) -> float:
    """The largest difference of a probability."""
    return max(
        abs(one["scores"][label] - other["scores"][label])
        for one, other in zip(answers, others, strict=True)
        for label in one["scores"]
    )


def served_answers(
    model: pathlib.Path, texts: list[str], *, folder: pathlib.Path
) -> list[Any]:
    """What the API answers with the same int8 model."""
    httpx = pytest.importorskip("httpx")
    port = free_port()
    words = (API, "--model", model, "--port", port, "--engine", "onnx-int8")
    program = Program(words, folder=folder)
    url = f"http://127.0.0.1:{port}"
    answers: list[Any] = []
    try:
        wait_for_answer(program, f"{url}/readyz", timeout_s=150)
        assert httpx.get(f"{url}/version").json()["engine"] == "onnx-int8"
        for start in range(0, len(texts), 20):
            body = {"texts": texts[start : start + 20]}
            got = httpx.post(f"{url}/predict/batch", json=body, timeout=60)
            answers += got.json()["results"]
    finally:
        program.kill_everything()
    return answers


@pytest.mark.slow
def test_its_answers_are_those_of_the_api_on_200_rows(
    chromium: Any, site: str, export: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    rows = newswire.stories(200, seed=5, split="test")
    texts = [row.text for row in rows] + HARD_TEXTS
    want = served_answers(export, texts, folder=tmp_path)
    visit = loaded(chromium, site)
    got = visit.page.evaluate(ASK_ALL, texts)
    assert largest_gap(got, want) <= TOLERANCE
    same = sum(a["label"] == b["label"] for a, b in zip(got, want, strict=True))
    assert same >= 0.98 * len(texts)
    cut = [answer["truncated"] for answer in want]
    assert [answer["truncated"] for answer in got] == cut
    assert 20 < sum(cut) < len(cut) - 20  # both kinds are among them
    # Negative control: another model's answers are found to be others.
    other = tiny_export.write(
        tmp_path / "other", seed=2, vocabulary="minilm", max_length=40
    )
    answers = [vars(answer) for answer in Classifier(other).predict(texts)]
    assert largest_gap(got, answers) > TOLERANCE


@pytest.mark.slow
def test_nothing_is_loaded_unasked_and_nothing_from_elsewhere(
    chromium: Any, site: str, vendored: pathlib.Path
) -> None:
    visit = Visit(chromium, site, size=DESK)
    visit.sees("nothing you type leaves it")
    button = visit.page.get_by_role("button", name="Load the model")
    paths = [*vendored.glob("model-*/**/*.*n*"), *vendored.glob("vendor/*.*s*")]
    loaded_bytes = sum(path.stat().st_size for path in paths)
    assert button.inner_text() == f"Load the model ({-(-loaded_bytes // 10**6)} MB)"
    visit.type("a goal")
    visit.sees("Load the model first")
    visit.page.wait_for_timeout(1000)
    assert not [url for url in visit.asked if "/model-" in url or "/vendor/" in url]
    button.click()  # the control: now they are
    visit.page.locator("#loader").wait_for(state="hidden")
    visit.sees("Answered in")
    assert [url for url in visit.asked if "/model-" in url and "onnx" in url]
    assert [url for url in visit.asked if not url.startswith(f"{site}/")] == []
    count = len(visit.asked)
    visit.type("a secret text that nobody else may read")
    visit.sees("Without “")
    assert len(visit.asked) == count  # neither the text nor its words asked anybody
    assert visit.faults == []
    visit.keep_picture("static_space")


@pytest.mark.slow
def test_at_the_second_visit_the_model_is_there_by_itself(
    chromium: Any, site: str
) -> None:
    visit = loaded(chromium, site)
    old = ["model-000000000000/config.json", "another/model-000000000000/config.json"]
    keep = """async (paths) => {
      const cache = await caches.open("transformers-cache");
      for (const path of paths) await cache.put(path, new Response("{}"));
    }"""
    visit.page.evaluate(keep, old)
    again = visit.window.new_page()
    asked: list[str] = []
    again.on("request", lambda request: asked.append(request.url))
    again.goto(f"{site}/#text=a+goal")
    again.get_by_text("Answered in").wait_for(timeout=20_000)
    assert again.locator("#bars tr").count() == 4
    assert not [url for url in asked if url.endswith(".onnx")]
    # An older model of this page was forgotten; what others keep there was not.
    keys = "caches.open('transformers-cache').then(c => c.keys())"
    left = again.evaluate(f"{keys}.then(keys => keys.map(key => key.url))")
    assert f"{site}/{old[0]}" not in left
    assert f"{site}/{old[1]}" in left


def spoil_scores(folder: pathlib.Path) -> None:
    about = files.read_json(folder / "static/model.json")
    about["browser"]["golden"][5]["scores"] = [-1.0, 1.0, 0.5, 0.5]  # of no model
    files.write_json(folder / "static/model.json", about)


def append_a_blank(pattern: str) -> Callable[[pathlib.Path], None]:
    def spoil(folder: pathlib.Path) -> None:
        [path] = folder.glob(pattern)
        path.write_bytes(path.read_bytes() + b" ")

    return spoil


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_scores, "This browser computes other scores"),
        (append_a_blank("vendor/ort.wasm"), "The model could not be loaded"),
        (append_a_blank("vendor/ort.mjs"), "The model could not be loaded"),
        (append_a_blank("vendor/transformers.js"), "The model could not be loaded"),
        (
            lambda folder: next(folder.glob("model-*/onnx/*.onnx")).unlink(),
            "The model could not be loaded",
        ),
    ],
    ids=["scores", "wasm", "mjs", "library", "model"],
)
def test_what_is_not_as_it_was_made_gives_no_answers(
    chromium: Any,
    vendored: pathlib.Path,
    tmp_path: pathlib.Path,
    spoil: Callable[[pathlib.Path], None],
    sentence: str,
) -> None:
    shutil.copytree(vendored, tmp_path / "space")
    spoil(tmp_path / "space")
    with Site(tmp_path / "space") as url:
        visit = Visit(chromium, url, size=DESK)
        button = visit.page.get_by_role("button", name="Load the model")
        button.click()
        visit.sees(sentence)
        assert button.is_enabled()  # one may try again
        visit.type("a goal")
        visit.sees("Load the model first")
        assert visit.bars() == []


@pytest.mark.slow
@pytest.mark.parametrize("is_pinned", [True, False])
def test_without_npm_the_browser_takes_the_pinned_files_from_the_cdn(
    chromium: Any, build: Build, vendored: pathlib.Path, is_pinned: bool
) -> None:
    """With a stand-in for the CDN; the control: it sends files with a byte more."""
    types = {
        "mjs": "text/javascript",
        "js": "text/javascript",
        "wasm": "application/wasm",
    }
    names = {
        place.rpartition("/")[2]: name
        for name, place in static_space._places(vendor=False).items()
    }
    asked = []

    def send(route: Any) -> None:
        name = route.request.url.rpartition("/")[2]
        asked.append(name)
        body = (vendored / "vendor" / names[name]).read_bytes()
        route.fulfill(
            body=body if is_pinned else body + b" ",
            content_type=types[name.rpartition(".")[2]],
            headers={"Access-Control-Allow-Origin": "*"},
        )

    with Site(build()) as url:
        visit = Visit(chromium, url, size=DESK)
        visit.page.route("https://cdn.jsdelivr.net/**", send)
        visit.page.get_by_role("button", name="Load the model").click()
        if not is_pinned:
            visit.sees("The model could not be loaded")
            return
        visit.page.locator("#loader").wait_for(state="hidden")
        visit.type("a goal")
        visit.sees("Answered in")
        assert set(asked) == set(names)
        assert visit.faults == []


def use_the_model(page: Any) -> None:
    load_model(page)
    page.get_by_label("Text", exact=True).fill("Striker scores twice in the final")
    page.get_by_text("Without “").wait_for()
    page.get_by_text("the life of a step").click()
    page.get_by_role("img", name="The life of a step on two ranks").wait_for()


@pytest.mark.slow
@pytest.mark.parametrize("look", site_crawl.LOOKS, ids=lambda look: look.name)
def test_axe_finds_nothing_and_nothing_scrolls_sideways(
    chromium: Any, site: str, look: site_crawl.Look
) -> None:
    with site_crawl.visitor(chromium, site, look) as visitor:
        assert visitor.faults("/") == []
        assert visitor.faults("/", then=use_the_model) == []


def test_the_page_is_told_what_the_service_would_say(
    build: Build, export: pathlib.Path
) -> None:
    about = files.read_json(build() / "static/model.json")
    bundle = open_bundle(export)
    assert about["labels"] == list(bundle.labels)
    assert about["model"]["sha256"] == bundle.identity.sha256
    assert about["facts"]["test_rows"] == bundle.facts["rows"]
    assert about["facts"]["train_s"] is None  # the export does not say
    # WHY the names stand in both: FastAPI is not needed to build the folder.
    contract = pytest.importorskip("contract", reason='needs pip install ".[serve]"')
    said = contract.Facts.model_validate(bundle.facts).model_dump(mode="json")
    assert about["facts"] == {name: said[name] for name in about["facts"]}
    assert json.dumps(about["browser"]["letter"])
