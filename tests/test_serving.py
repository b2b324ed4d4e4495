"""Proofs for apps/api.py in one process: every answer, and what it never tells."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Generator
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
httpx = pytest.importorskip("httpx")
hypothesis = pytest.importorskip("hypothesis")

import api
import contract
import problems
import telemetry
from fastapi import FastAPI
from helpers.serving import LABELS, POISON, FakeModel, make_app, run
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, Field

HEADLINE = "Oil prices rise as a storm nears the coast"
SECRET = "Zanzibar quokka lighthouse 8c1f"
Client = httpx.AsyncClient


async def predict(client: Client, text: str = HEADLINE, **more: Any) -> httpx.Response:
    return await client.post("/predict", json={"text": text}, **more)


def check_problem(answer: httpx.Response, kind: str) -> dict[str, Any]:
    """An answer is a whole problem of this kind, and declared in the contract."""
    assert answer.headers["content-type"] == problems.MEDIA_TYPE
    problem = answer.json()
    assert (answer.status_code, problem["status"]) == (problems.KINDS[kind].status,) * 2
    assert problem["type"] == f"/docs#{kind}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    for name in ("x-content-type-options", "content-security-policy"):
        assert name in answer.headers
    return problem


# --- Answers --------------------------------------------------------------------


def test_a_text_gets_a_label_scores_and_the_model_that_gave_them() -> None:
    answer = run(make_app(), predict)
    assert answer.status_code == 200
    label = LABELS[sum(map(ord, HEADLINE)) % 4]
    assert answer.json() == {
        "label": label,
        "scores": {name: float(name == label) for name in LABELS},
        "truncated": False,
        "model": {"id": "fake/model", "sha256": "f" * 64, "run_id": "proof"},
    }


@pytest.mark.parametrize(("num_words", "truncated"), [(64, False), (65, True)])
def test_an_answer_says_whether_the_text_was_cut(
    num_words: int, truncated: bool
) -> None:
    text = "word " * num_words
    answer = run(make_app(), lambda client: predict(client, text))
    assert answer.json()["truncated"] is truncated


def test_several_texts_get_their_answers_in_order() -> None:
    texts = [HEADLINE, "cup final", "x"]

    async def main(client: Client) -> list[str]:
        answer = await client.post("/predict/batch", json={"texts": texts})
        return [fault["label"] for fault in answer.json()["results"]]

    assert run(make_app(), main) == [LABELS[sum(map(ord, t)) % 4] for t in texts]


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/version", "/metrics", "/docs", "/openapi.json"]
)
def test_the_other_pages_answer(path: str) -> None:
    assert run(make_app(), lambda client: client.get(path)).status_code == 200


@pytest.mark.parametrize(("ui", "to"), [(True, "ui"), (False, "docs")])
def test_the_front_door_leads_to_the_demo_or_else_to_the_api_page(
    ui: bool, to: str
) -> None:
    answer = run(make_app(ui=ui), lambda client: client.get("/"))
    assert (answer.status_code, answer.headers["location"]) == (307, to)


def test_the_api_page_loads_nothing_and_explains_every_problem() -> None:
    answer = run(make_app(), lambda client: client.get("/docs"))
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script|<img|src=|@import|href='(https?:)?//", answer.text)
    for kind in problems.KINDS:
        assert f"id='{kind}'" in answer.text


# --- Errors ---------------------------------------------------------------------

JSON = {"content-type": "application/json"}
DEEP = b'{"text":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
# Path, method, headers, body, kind of problem. Where a body holds text, it is SECRET.
ERRORS: dict[str, tuple[str, str, dict[str, str], bytes, str]] = {
    "no such path": (f"/{SECRET}", "GET", {}, b"", "not-found"),
    "another method": ("/predict", "GET", {}, b"", "method-not-allowed"),
    "an unknown method": ("/predict", "BREW", {}, b"", "method-not-allowed"),
    "no media type": ("/predict", "POST", {}, b'{"text":"a"}', "not-json-media-type"),
    "a form": (
        *("/predict", "POST", {"content-type": "application/x-www-form-urlencoded"}),
        *(f"text={SECRET}".encode(), "not-json-media-type"),
    ),
    "another alphabet": (
        *("/predict", "POST", {"content-type": "application/json; charset=latin-1"}),
        *(b'{"text":"a"}', "not-json-media-type"),
    ),
    "nothing": ("/predict", "POST", JSON, b"", "not-json"),
    "half": ("/predict", "POST", JSON, f'{{"text":"{SECRET}'.encode(), "not-json"),
    "not UTF-8": (
        *("/predict", "POST", JSON),
        *(f'{{"text":"{SECRET}'.encode() + b'\xff\xfe"}', "not-json"),
    ),
    "UTF-16": (
        *("/predict", "POST", JSON),
        *(f'{{"text":"{SECRET}"}}'.encode("utf-16"), "not-json"),
    ),
    "NaN": ("/predict", "POST", JSON, b'{"text":NaN}', "not-json"),
    "infinity": ("/predict", "POST", JSON, b'{"text":-Infinity}', "not-json"),
    "too deep": ("/predict", "POST", JSON, DEEP, "not-json"),
    "a huge number": (
        *("/predict", "POST", JSON),
        *(b'{"text":' + b"9" * 100_000 + b"}", "not-json"),
    ),
    "a list": ("/predict", "POST", JSON, f'["{SECRET}"]'.encode(), "invalid"),
    "null": ("/predict", "POST", JSON, b"null", "invalid"),
    "no text": ("/predict", "POST", JSON, b"{}", "invalid"),
    "a number": ("/predict", "POST", JSON, b'{"text":1}', "invalid"),
    "a huge float": ("/predict", "POST", JSON, b'{"text":1e999}', "invalid"),
    "an empty text": ("/predict", "POST", JSON, b'{"text":""}', "invalid"),
    "only blanks": (
        *("/predict", "POST", JSON),
        *(b'{"text":" \\n\\u00a0\\u0085\\ufeff\\u001c"}', "invalid"),
    ),
    "half an emoji": (
        *("/predict", "POST", JSON),
        *(f'{{"text":"{SECRET} \\ud800"}}'.encode(), "invalid"),
    ),
    "an unknown field": (
        *("/predict", "POST", JSON),
        *(f'{{"text":"a","{SECRET}":"{SECRET}"}}'.encode(), "invalid"),
    ),
    "half an emoji in a name": (
        *("/predict", "POST", JSON),
        *(f'{{"text":"a","{SECRET}\\ud83d":1}}'.encode(), "invalid"),
    ),
    "a long text": (
        *("/predict", "POST", JSON),
        *(json.dumps({"text": SECRET * 1000}).encode(), "invalid"),
    ),
    "no texts": ("/predict/batch", "POST", JSON, b'{"texts":[]}', "invalid"),
    "too many texts": (
        *("/predict/batch", "POST", JSON),
        *(json.dumps({"texts": [SECRET] * 33}).encode(), "invalid"),
    ),
    "too many wrong texts": (
        *("/predict/batch", "POST", JSON),
        *(json.dumps({"texts": [7] * 20_000}).encode(), "invalid"),
    ),
    "one empty text": (
        *("/predict/batch", "POST", JSON),
        *(json.dumps({"texts": [SECRET, " ", SECRET]}).encode(), "invalid"),
    ),
    "too large": (
        *("/predict", "POST", JSON),
        *(json.dumps({"text": SECRET * 10_000}).encode(), "body-too-large"),
    ),
    "too large for a GET": ("/healthz", "GET", {}, b"x" * 300_000, "body-too-large"),
    "too large for nobody": ("/nowhere", "PUT", {}, b"x" * 300_000, "body-too-large"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_is_a_problem_of_the_right_kind_and_quotes_nobody(
    case: str, heard: Callable[[], str]
) -> None:
    path, method, headers, body, kind = ERRORS[case]

    async def main(client: Client) -> httpx.Response:
        answer = await client.request(method, path, headers=headers, content=body)
        assert (await predict(client)).status_code == 200  # and the server goes on
        return answer

    answer = run(make_app(), main)
    check_problem(answer, kind)
    for word in SECRET.split():
        assert word not in answer.text + str(answer.headers) + heard()


def test_a_body_that_comes_in_chunks_meets_the_same_limit() -> None:
    async def chunks() -> Any:
        for _ in range(300):
            yield b"x" * 1000

    async def main(client: Client) -> httpx.Response:
        return await client.post("/predict", headers=JSON, content=chunks())

    check_problem(run(make_app(), main), "body-too-large")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/text"]),
        ({"text": 1, "other": 2}, ["/text", ""]),
        ({"text": "a", "b": 1, "c": 2}, [""]),
    ],
)
def test_a_fault_names_its_place(body: dict[str, Any], pointers: list[str]) -> None:
    answer = run(make_app(), lambda client: client.post("/predict", json=body))
    assert [fault["pointer"] for fault in answer.json()["errors"]] == pointers


def test_of_several_texts_the_wrong_one_is_named() -> None:
    texts = ["a", " ", "b", ""]
    app = make_app()
    answer = run(app, lambda c: c.post("/predict/batch", json={"texts": texts}))
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [
        "/texts/1",
        "/texts/3",
    ]


@pytest.mark.parametrize("num_texts", [32, 33])
def test_the_limit_of_texts_lies_where_it_is_said(num_texts: int) -> None:
    body = {"texts": ["a"] * num_texts}
    answer = run(make_app(), lambda c: c.post("/predict/batch", json=body))
    assert answer.status_code == (200 if num_texts == 32 else 422)


@pytest.mark.parametrize("length", [100, 101])
def test_the_limit_of_characters_lies_where_it_is_said(length: int) -> None:
    app = make_app(max_characters=100)
    answer = run(app, lambda client: predict(client, "x" * length))
    assert answer.status_code == (200 if length == 100 else 422)


class Stock(BaseModel):
    """What a tutorial would write."""

    text: str = Field(max_length=5)


def test_stock_fastapi_would_quote_the_text() -> None:
    """Negative control: the same checks see what the framework does on its own."""
    app = FastAPI()

    @app.post("/predict")
    def stock(body: Stock) -> str:
        return body.text

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with Client(transport=transport, base_url="http://x") as client:
            return await predict(client, SECRET)

    answer = asyncio.run(main())
    assert SECRET in answer.text
    with pytest.raises(AssertionError):
        check_problem(answer, "invalid")


# --- Model and queue ------------------------------------------------------------


def test_one_bad_text_never_fails_its_neighbours() -> None:
    model = FakeModel()
    model.gate.clear()

    async def main(client: Client) -> list[httpx.Response]:
        texts = [f"headline {i}" for i in range(6)]
        texts[3] = f"{POISON} {SECRET}"
        tasks = [asyncio.create_task(predict(client, t)) for t in texts]
        await asyncio.sleep(0.05)
        model.gate.set()
        return await asyncio.gather(*tasks)

    answers = run(make_app(model), main)
    assert [a.status_code for a in answers] == [200, 200, 200, 500, 200, 200]
    check_problem(answers[3], "internal")
    assert model.batches[0] + model.batches[1] >= 6, "they did not share a batch"


def test_in_a_batch_a_problem_stands_in_place_of_the_bad_text() -> None:
    body = {"texts": ["one", POISON, "two"]}
    answer = run(make_app(), lambda c: c.post("/predict/batch", json=body))
    assert answer.status_code == 200
    first, bad, last = answer.json()["results"]
    assert first["label"] in LABELS
    assert last["label"] in LABELS
    assert bad["problem"]["status"] == 500


def test_before_the_deadline_or_not_at_all() -> None:
    model = FakeModel(seconds=0.3)

    async def main(client: Client) -> httpx.Response:
        late = await predict(client)
        await asyncio.sleep(0.3)
        assert app.state.service.num_waiting == 0
        model.seconds = 0
        assert (await predict(client)).status_code == 200
        return late

    app = make_app(model, deadline_s=0.1)
    check_problem(run(app, main), "deadline")


def test_a_body_must_arrive_in_time() -> None:
    async def slowly() -> Any:
        yield b'{"text":'
        await asyncio.sleep(0.4)
        yield b'"a"}'

    app = make_app(body_timeout_s=0.1)
    answer = run(app, lambda c: c.post("/predict", headers=JSON, content=slowly()))
    check_problem(answer, "body-too-slow")


def test_who_finds_the_queue_full_is_sent_away_at_once() -> None:
    model = FakeModel()
    model.gate.clear()

    async def main(client: Client) -> list[httpx.Response]:
        tasks = [asyncio.create_task(predict(client)) for _ in range(20)]
        while sum(task.done() for task in tasks) < 14:  # on a busy machine, later
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        refused = [task.result() for task in tasks if task.done()]
        model.gate.set()
        answers = await asyncio.gather(*tasks)
        assert (await predict(client)).status_code == 200
        assert sum(a.status_code == 200 for a in answers) == 20 - len(refused)
        return refused

    # One or two are with the model, four wait: one client's half of eight places.
    refused = run(make_app(model, max_waiting=8), main)
    assert 14 <= len(refused) <= 16
    for answer in refused:
        check_problem(answer, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("leaves", [True, False])
def test_a_client_that_goes_away_frees_its_place(leaves: bool) -> None:
    """Who stays (the negative control) is computed."""
    model = FakeModel()
    model.gate.clear()
    app = make_app(model)

    async def ask(left: asyncio.Event) -> None:
        """One request as a server hands it over, and the client's end of it."""
        body = json.dumps({"text": "a"}).encode()
        messages = [{"type": "http.request", "body": body}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        headers = [(b"content-type", b"application/json")]
        scope = {
            **{"type": "http", "method": "POST", "path": "/predict"},
            **{"query_string": b"", "headers": headers, "root_path": ""},
        }
        await app(scope, receive, send)

    async def main(client: Client) -> None:
        service, left = app.state.service, asyncio.Event()
        first = asyncio.create_task(predict(client))
        while not model.batches:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(ask(left))
        while not service.num_waiting:
            await asyncio.sleep(0.001)
        if leaves:
            left.set()
            await second
            assert service.num_waiting == 0
        model.gate.set()
        await asyncio.gather(first, second)

    run(app, main)
    assert model.batches == ([1] if leaves else [1, 1])


# --- Readiness ------------------------------------------------------------------


def test_alive_at_once_and_ready_only_when_the_model_is_warm() -> None:
    model = FakeModel()
    model.warm.clear()
    app = make_app(model)

    async def main(client: Client) -> None:
        assert (await client.get("/healthz")).status_code == 200
        check_problem(await client.get("/readyz"), "not-ready")
        answer = await predict(client)
        check_problem(answer, "not-ready")
        assert int(answer.headers["retry-after"]) >= 1
        assert (await client.get("/version")).json()["model"] is None
        model.warm.set()
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.001)
        assert (await predict(client)).status_code == 200
        assert (await client.get("/version")).json()["engine"] == "fake"
        app.state.service.start_draining()
        check_problem(await client.get("/readyz"), "not-ready")
        assert (await predict(client)).status_code == 200  # it still serves

    run(app, main, ready=False)


def test_a_model_that_cannot_be_loaded_makes_nobody_ready(
    heard: Callable[[], str],
) -> None:
    model = FakeModel(broken=True)
    model.warm_up = lambda: model.predict_encoded([])  # type: ignore[method-assign]

    async def main(client: Client) -> None:
        check_problem(await client.get("/readyz"), "not-ready")
        check_problem(await predict(client), "not-ready")

    run(make_app(model), main)
    assert "RuntimeError" in heard()


# --- What it tells --------------------------------------------------------------


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Generator[Callable[[], str], None, None]:
    """Everything that is logged, as it is written."""
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(telemetry.sys, "stderr", stream)
    telemetry.log_as_json("info")

    def written() -> str:
        telemetry.flush()
        return stream.getvalue()

    yield written
    root.handlers, root.level = before, level


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_request_is_one_line_of_json(heard: Callable[[], str]) -> None:
    run(make_app(), lambda c: predict(c, headers={"x-request-id": "mine-1.2_3"}))
    [line] = [line for line in lines(heard()) if line["event"] == "request"]
    assert line.pop("time").endswith("Z")
    assert 0 < line.pop("ms") < 10_000
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "mine-1.2_3",
        "method": "POST",
        "route": "/predict",
        "status": 200,
        "texts": 1,
        "characters": len(HEADLINE),
    }


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a" * 64, True),
        ("a" * 65, False),
        ("", False),
        ("a b", False),
        ('x","level":"error', False),
        ("a\n", False),
        ("é", False),
    ],
)
def test_a_request_id_is_kept_only_if_it_cannot_do_harm(given: str, kept: bool) -> None:
    headers = {"x-request-id": given.encode("utf-8")}
    answer = run(make_app(), lambda client: predict(client, headers=headers))
    request_id = answer.headers["x-request-id"]
    assert (request_id == given) is kept
    assert re.fullmatch(api.REQUEST_ID, request_id)


def test_a_crash_is_a_problem_and_its_log_line_has_no_words(
    heard: Callable[[], str],
) -> None:
    app = make_app()

    async def fail(texts: list[str], **_: Any) -> None:
        raise ValueError(f"cannot digest {texts}")

    async def main(client: Client) -> httpx.Response:
        app.state.service.classify = fail
        return await predict(client, SECRET)

    answer = run(app, main)
    check_problem(answer, "internal")
    [line] = [line for line in lines(heard()) if line["event"] == "crash"]
    assert line["error"] == "ValueError"
    assert any(place.endswith(" fail") for place in line["where"])
    assert SECRET not in answer.text + heard()


def test_the_words_of_other_libraries_are_not_logged(
    heard: Callable[[], str],
) -> None:
    logging.getLogger("asyncio").error("future: <Task exception=%s>", SECRET)
    logging.getLogger("starlette").warning(SECRET)
    assert len(lines(heard())) == 2
    assert SECRET not in heard()


def test_a_page_of_a_space_may_show_it_in_a_frame() -> None:
    answer = run(make_app(), lambda client: client.get("/healthz"))
    policy = answer.headers["content-security-policy"]
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in policy
    assert "x-frame-options" not in answer.headers


def samples(text: str) -> dict[str, list[Any]]:
    return {f.name: f.samples for f in text_string_to_metric_families(text)}


def test_metrics_count_what_happened() -> None:
    async def main(client: Client) -> str:
        await asyncio.gather(*(predict(client, f"text {i}") for i in range(5)))
        await client.post("/predict/batch", json={"texts": ["a", POISON]})
        await client.get("/nowhere")
        return (await client.get("/metrics")).text

    metrics = samples(run(make_app(), main))
    requests = {
        tuple(s.labels[name] for name in ("route", "method", "status")): s.value
        for s in metrics["distrinews_requests"]
        if s.name.endswith("_total")
    }
    assert requests == {
        ("/predict", "POST", "200"): 5,
        ("/predict/batch", "POST", "200"): 1,
        ("unmatched", "GET", "404"): 1,
    }
    answered = [s for s in metrics["distrinews_texts"] if s.name.endswith("_total")]
    assert sum(s.value for s in answered) == 6
    [failed] = [
        s for s in metrics["distrinews_texts_failed"] if s.name.endswith("_total")
    ]
    assert failed.value == 1
    assert metrics["distrinews_ready"][0].value == 1
    assert metrics["distrinews_texts_waiting"][0].value == 0


def test_no_visitor_can_make_the_metrics_grow() -> None:
    async def main(client: Client) -> tuple[int, int]:
        async def visit(number: int) -> None:
            await client.get(f"/path{number}")
            await client.request(f"BREW{number}", f"/predict?{number}")
            await predict(client, headers={"x-request-id": f"id-{number}"})

        await visit(0)
        before = (await client.get("/metrics")).text
        await client.get("/metrics")
        before = (await client.get("/metrics")).text
        for number in range(1, 30):
            await visit(number)
        after = (await client.get("/metrics")).text
        return len(before.splitlines()), len(after.splitlines())

    before, after = run(make_app(), main)
    assert before == after


# WHY such words: a single letter, or a number, occurs in every log line.
WORDS = st.text(
    st.characters(min_codepoint=0x100, max_codepoint=0x2FFF, exclude_categories=["C"]),
    min_size=4,
    max_size=40,
) | st.from_regex(r"[g-z]{9,30}", fullmatch=True)


def test_no_text_is_ever_told_to_anybody(heard: Callable[[], str]) -> None:
    model = FakeModel()

    def fail_aloud(items: Any) -> Any:
        raise RuntimeError(f"{items} {current[0]}")

    current = [""]

    @hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
    @hypothesis.given(word=WORDS, fails=st.booleans())
    def check(word: str, fails: bool) -> None:
        app, current[0] = make_app(model), word
        model.predict_encoded = fail_aloud if fails else good  # type: ignore[method-assign]

        async def main(client: Client) -> str:
            answers = [
                await predict(client, word),
                await client.post("/predict/batch", json={"texts": [word, word]}),
                await client.post("/predict", json={"text": word, word: word}),
                await client.post("/predict", json=[word]),
                await client.post("/predict", content=word.encode(), headers=JSON),
                await client.post("/predict", content=word.encode()),
                await client.get("/" + word, params={"text": word}),
                await client.get("/metrics"),
            ]
            return "".join(a.text + str(a.headers.raw) for a in answers)

        output = run(app, main) + heard()
        assert word not in output
        assert json.dumps(word)[1:-1] not in output

    good = model.predict_encoded
    check()


def test_a_log_line_with_the_text_would_be_noticed(heard: Callable[[], str]) -> None:
    """Negative control of the proof above."""
    telemetry.log.warning("odd text: %s", SECRET)
    assert SECRET in heard()


# --- The contract ---------------------------------------------------------------


def test_the_schema_in_the_repository_is_the_one_that_is_served() -> None:
    served = run(make_app(), lambda client: client.get("/openapi.json")).json()
    frozen = contract.FILE.read_text(encoding="utf-8")
    assert contract.to_json(served) == frozen, "renew it: python apps/renew_openapi.py"


def test_every_problem_is_declared_with_its_media_type() -> None:
    schema = json.loads(contract.FILE.read_text(encoding="utf-8"))
    declared = set()
    for operations in schema["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if status != "200":
                    declared.add(int(status))
                    assert list(answer["content"]) == [problems.MEDIA_TYPE]
    # 404 belongs to no operation: it says that there is none.
    assert declared | {404} == {kind.status for kind in problems.KINDS.values()}


def test_the_server_needs_no_ranks_no_rows_and_no_torch_of_its_own() -> None:
    """An engine may load torch; everything around it does without."""
    code = "import sys, api, server; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=contract.FILE.parent,
    )
    loaded = set(done.stdout.split())
    assert "distrinews.inference.classifier" in loaded
    assert not loaded & {"torch", "transformers", "datasets", "gradio"}
    assert not loaded & {
        "distrinews.dist",
        "distrinews.data.tokenised",
        "distrinews.training",
    }
