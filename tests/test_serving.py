"""Proofs for apps/api.py in one process: every answer, and what it never tells."""

from __future__ import annotations

import asyncio
import email.message
import gzip
import io
import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
httpx = pytest.importorskip("httpx")
hypothesis = pytest.importorskip("hypothesis")

import api
import contract
import h11
import problems
import reading
import telemetry
import wire
from fastapi import FastAPI
from helpers.serving import LABELS, POISON, FakeModel, make_app, run
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import Headers

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
    "no letter": ("/predict", "POST", JSON, b'{"text":"?! \\u200b"}', "invalid"),
    "a name twice": ("/predict", "POST", JSON, b'{"text":"a","text":"b"}', "not-json"),
    "compressed": (
        *("/predict", "POST", {**JSON, "content-encoding": "gzip"}),
        *(gzip.compress(b'{"text":"a"}'), "not-json-media-type"),
    ),
    "a long media type": (
        *("/predict", "POST", {"content-type": "application/json" + " " * 200}),
        *(b'{"text":"a"}', "not-json-media-type"),
    ),
    "two lengths": (
        *("/predict", "POST", {**JSON, "transfer-encoding": "chunked"}),
        *(b'{"text":"a"}', "bad-request"),
    ),
    "a long head": ("/healthz", "GET", {"x": "y" * 20_000}, b"", "bad-request"),
    "a long path": ("/healthz?" + "y" * 20_000, "GET", {}, b"", "bad-request"),
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
    ("body", "headers"),
    [
        (b'{"text":"a"}', JSON),
        (b'\xef\xbb\xbf{"text":"a"}', JSON),  # PowerShell's mark
        (b'{"text":"a"}', {"content-type": 'Application/JSON; charset="UTF-8"'}),
        (b'{"text":"a"}', {"content-type": "application/json;odata=verbose"}),
        (b'{"text":"a"}', {**JSON, "content-encoding": "identity"}),
    ],
)
def test_what_other_clients_write_is_read(body: bytes, headers: dict[str, str]) -> None:
    app = make_app()
    answer = run(app, lambda c: c.post("/predict", headers=headers, content=body))
    assert answer.status_code == 200


def cpu_s(work: Callable[[], object]) -> float:
    """The fastest of three, in seconds of this process, which others do not change."""
    times = []
    for _ in range(3):
        began_s = time.process_time()
        work()
        times.append(time.process_time() - began_s)
    return min(times)


def test_the_time_to_read_a_media_type_does_not_grow_with_its_length() -> None:
    value = "application/json" + ";" * 16_000

    def ours() -> None:
        with pytest.raises(problems.ProblemError):
            reading._check_headers(Headers({"content-type": value}))

    def pythons() -> None:  # the control; with 65,000 it is 16 times slower
        message = email.message.Message()
        message["content-type"] = value
        message.get_param("charset")

    assert 20 * cpu_s(ours) < cpu_s(pythons)


def test_many_unknown_fields_are_one_fault_and_cost_little() -> None:
    fields = {f"field{i}": 1 for i in range(20_000)}
    body = json.dumps({"text": "a", **fields}).encode()

    def ours() -> None:
        with pytest.raises(problems.ProblemError) as refused:
            reading.parse_json(body, contract.PredictIn, max_texts=32)
        assert len(refused.value.errors) == 1

    def pydantics() -> None:  # the control
        with pytest.raises(ValidationError) as error:
            contract.PredictIn.model_validate(json.loads(body))
        assert len(error.value.errors()) == 20_000

    assert 3 * cpu_s(ours) < cpu_s(pydantics)


def read_all(connection: h11.Connection, sent: bytes) -> int:
    """Read as uvicorn does; return how many bytes of a body were read."""
    connection.receive_data(sent)
    num_bytes = 0
    while (event := connection.next_event()) is not h11.NEED_DATA:
        if isinstance(event, h11.Data):
            num_bytes += len(event.data)
    return num_bytes


def test_a_body_in_chunks_of_a_byte_costs_no_more_than_its_first_chunks() -> None:
    """The length of a chunk says nothing about the time that h11 takes for it."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    many, few = head + b"1\r\nx\r\n" * 40_000, head + b"1\r\nx\r\n" * 1000

    def ours() -> None:
        with pytest.raises(h11.RemoteProtocolError):
            read_all(wire.Connection(max_chunks=1000), many)

    def h11s() -> None:  # the control
        assert read_all(h11.Connection(h11.SERVER), many) == 40_000

    assert read_all(wire.Connection(max_chunks=1000), few) == 1000
    assert 5 * cpu_s(ours) < cpu_s(h11s)


def test_the_chunks_of_each_request_are_counted_by_themselves() -> None:
    connection = wire.Connection(max_chunks=3)
    request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    request += b"1\r\nx\r\n" * 3 + b"0\r\n\r\n"
    for _ in range(3):
        connection.receive_data(request)
        while not isinstance(connection.next_event(), h11.EndOfMessage):
            pass
        connection.send(
            h11.Response(status_code=200, headers=[("content-length", "0")])
        )
        connection.send(h11.EndOfMessage())
        connection.start_next_cycle()


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


@pytest.mark.parametrize(
    ("odd", "pointers"),
    [("a\0b", []), ("x" * 101, ["/texts/30"]), ("\ud800", ["/texts/30"])],
    ids=["NUL", "too long", "half a character"],
)
def test_a_nul_among_thirty_texts_is_answered_and_a_text_that_is_too_long_is_named(
    odd: str, pointers: list[str]
) -> None:
    body = json.dumps({"texts": ["a"] * 30 + [odd]})
    headers = {"Content-Type": "application/json"}
    answer = run(
        make_app(max_characters=100),
        lambda c: c.post("/predict/batch", content=body, headers=headers),
    )
    assert answer.status_code == (422 if pointers else 200)
    got = answer.json()
    assert [fault["pointer"] for fault in got.get("errors", [])] == pointers
    assert len(got.get("results", [])) == (0 if pointers else 31)


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


@pytest.mark.slow
def test_text_becomes_tokens_on_the_models_thread_before_the_deadline() -> None:
    """Tokenising is slow here; meanwhile others are answered, and it counts."""
    model, threads = FakeModel(), set()
    encode = model.encode

    def slowly(text: str) -> Any:
        threads.add(threading.current_thread().name)
        if text == "slow":
            time.sleep(1.5)
        return encode(text)

    model.encode = slowly  # type: ignore[method-assign]

    async def main(client: Client) -> None:
        assert (await predict(client)).status_code == 200  # the control
        slow = asyncio.create_task(predict(client, "slow"))
        await asyncio.sleep(0.05)
        assert (await client.get("/healthz")).status_code == 200
        assert not slow.done()
        check_problem(await slow, "deadline")

    run(make_app(model, deadline_s=1.0), main)
    assert [name.split("_")[0] for name in threads] == ["model"]


def test_a_batch_that_the_queue_could_never_hold_is_refused_for_good() -> None:
    for num_texts, status in ((8, 200), (9, 422)):
        body = {"texts": ["a"] * num_texts}
        app = make_app(max_waiting=8)
        answer = run(app, lambda c, body=body: c.post("/predict/batch", json=body))
        assert answer.status_code == status
    schema = app.openapi()["components"]["schemas"]["BatchIn"]
    assert schema["properties"]["texts"]["maxItems"] == 8


def test_one_client_leaves_room_for_another() -> None:
    model = FakeModel()
    model.gate.clear()
    app = make_app(model, max_waiting=8)

    async def main(client: Client) -> None:
        def as_client(address: str) -> Client:
            transport = httpx.ASGITransport(app=app, client=(address, 1))
            return Client(transport=transport, base_url="http://x")

        # Of IPv6, a network of 64 bits is one client.
        addresses = [f"2001:db8::{number}" for number in range(12)]
        first = asyncio.create_task(predict(client))
        while not model.batches:
            await asyncio.sleep(0.01)
        tasks = [asyncio.create_task(predict(as_client(a))) for a in addresses]
        while sum(task.done() for task in tasks) < 8:  # four wait
            await asyncio.sleep(0.01)
        assert {t.result().status_code for t in tasks if t.done()} == {503}
        other = asyncio.create_task(predict(as_client("2001:db8:1::1")))
        while app.state.service.num_waiting < 5:
            await asyncio.sleep(0.01)
        check_problem(await predict(as_client(addresses[0])), "overloaded")
        model.gate.set()
        assert (await other).status_code == 200
        await asyncio.gather(first, *tasks)

    run(app, main)


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
            "http_version": "1.1",
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


def test_a_model_that_hangs_is_not_ready_until_it_answers() -> None:
    model = FakeModel()
    model.gate.clear()

    async def main(client: Client) -> None:
        hangs = asyncio.create_task(predict(client))
        while not model.batches:
            await asyncio.sleep(0.001)
        assert (await client.get("/readyz")).status_code == 200  # the control: not yet
        check_problem(await hangs, "deadline")
        await asyncio.sleep(0.1)
        problem = check_problem(await client.get("/readyz"), "not-ready")
        assert "has not answered for" in problem["detail"]
        assert (await client.get("/healthz")).status_code == 200
        model.gate.set()
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.001)

    run(make_app(model, deadline_s=0.3), main)


# --- As seen from outside -------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/healthz", "/readyz", "/version", "/metrics", "/docs", "/ui", "/nowhere"]
)
def test_a_head_is_a_get_without_its_body(path: str) -> None:
    async def main(client: Client) -> list[httpx.Response]:
        return [await client.request(method, path) for method in ("GET", "HEAD")]

    get, head = run(make_app(), main)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert get.content
    for name in ("content-type", "content-security-policy"):
        assert head.headers[name] == get.headers[name]


def test_a_head_of_predict_is_not_allowed() -> None:
    answer = run(make_app(), lambda client: client.head("/predict"))
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path", ["/docs", "/ui", "/static/page.js", "/healthz", "/nowhere"]
)
def test_every_answer_has_one_policy_that_names_who_may_frame_it(path: str) -> None:
    answer = run(make_app(), lambda client: client.get(path))
    [policy] = answer.headers.get_list("content-security-policy")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'self' https://huggingface.co" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("name", "media_type"), [("page.js", "text/javascript"), ("page.css", "text/css")]
)
def test_a_file_of_the_page_has_its_media_type_whatever_the_machine_says(
    name: str, media_type: str
) -> None:
    """With another type, a browser would not run the script."""
    answer = run(make_app(), lambda client: client.get(f"/static/{name}"))
    assert answer.headers["content-type"] == f"{media_type}; charset=utf-8"


@pytest.mark.parametrize("prefix", ["", "/news"])
def test_a_prefix_of_a_proxy_is_kept_in_every_address(prefix: str) -> None:
    app = make_app(root_path=prefix)

    async def main(client: Client) -> None:
        assert (await client.get(f"{prefix}/healthz")).status_code == 200
        assert (await predict(client, "")).json()["type"] == f"{prefix}/docs#invalid"
        missing = (await client.get("/nowhere")).json()
        assert missing["type"] == f"{prefix}/docs#not-found"
        schema = (await client.get("/openapi.json")).json()
        assert schema.get("servers") == ([{"url": prefix}] if prefix else None)
        assert f"{prefix}/predict" in (await client.get("/docs")).text
        for path in ("/", "/ui/"):
            location = (await client.get(path)).headers["location"]
            assert not location.startswith(("/", "http"))

    run(app, main)


@pytest.mark.parametrize(
    ("host", "is_host"),
    [("me.example:8123", True), ("[::1]:80", True), ("a_b", True)]
    + [("a'b", False), ("a b", False), ("$(ls)", False), ("a/b", False)],
)
def test_the_api_page_names_the_address_at_which_it_was_asked(
    host: str, is_host: bool
) -> None:
    """Unless that is none: it would become part of a command."""
    headers = {"host": host}
    answer = run(make_app(), lambda client: client.get("/docs", headers=headers))
    assert (f"http://{host}/predict" in answer.text) == is_host
    if not is_host:
        check_problem(answer, "bad-request")
    assert ":8000" not in answer.text


def test_the_version_names_no_folder_of_this_machine() -> None:
    model = FakeModel()
    model.fallback_reason = "onnx-int8: /home/me/secret could not be written."
    answer = run(make_app(model), lambda client: client.get("/version"))
    reason = answer.json()["fallback_reason"]
    assert "faster engine" in reason
    assert "/" not in reason


@pytest.mark.parametrize("name", ["drain_s", "deadline_s", "write_timeout_s"])
@pytest.mark.parametrize("value", ["inf", "nan", "-1", "0", "1e9"])
def test_a_time_that_no_clock_can_count_is_refused(name: str, value: str) -> None:
    assert make_app(**{name: "60"}).state.settings.model_dump()[name] == 60
    with pytest.raises(ValidationError, match=name):
        make_app(**{name: value})


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


class Stuck(io.StringIO):
    """A pipe that is full until somebody reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.is_read = threading.Event()

    def write(self, text: str) -> int:
        self.is_read.wait(20)
        return super().write(text)


def test_a_log_that_nobody_reads_stops_nobody_and_its_losses_are_counted(
    monkeypatch: pytest.MonkeyPatch, heard: Callable[[], str]
) -> None:
    stream = Stuck()
    monkeypatch.setattr(telemetry.sys, "stderr", stream)
    monkeypatch.setattr(telemetry._lines, "maxsize", 5)
    telemetry.log_as_json("info")
    before = telemetry._handler.num_dropped
    for number in range(20):
        telemetry.log.info("line %d", number)
    dropped = telemetry._handler.num_dropped - before
    assert 14 <= dropped <= 15  # one may be in the writer's hands
    # Negative control: written without the queue, a line waits for its reader.
    direct = logging.StreamHandler(stream)
    record = logging.makeLogRecord({"msg": "x"})
    thread = threading.Thread(target=direct.handle, args=(record,))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    stream.is_read.set()
    thread.join()
    telemetry.flush()
    assert len(stream.getvalue().splitlines()) == 1 + 20 - dropped
    assert f"distrinews_log_lines_dropped {before + dropped}" in run(
        make_app(), lambda client: client.get("/metrics")
    ).text.replace(".0", "")


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


@pytest.mark.slow
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
