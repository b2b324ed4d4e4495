"""Proofs for what clients of other servers expect of apps/api.py.

An API key, the Hub's form of a request, options, a stream, scripts of other sites, a
prefix. Each with its control. In one process; real clients: `test_clients`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
httpx = pytest.importorskip("httpx")

import asking
import contract
import problems
from helpers.serving import LABELS, POISON, FakeModel, make_app, run
from pydantic import ValidationError
from serve_settings import ServeSettings

from distrinews.config import flags
from distrinews.errors import SettingsError

Client = httpx.AsyncClient
HEADLINE = "Oil prices rise as a storm nears the coast"
LABEL = LABELS[sum(map(ord, HEADLINE)) % 4]
LONG = "word " * 65  # the model reads 64 words
KEY = "correct-horse-battery"
BEARER = {"authorization": f"Bearer {KEY}"}


def post(app: Any, path: str, body: object, **more: Any) -> httpx.Response:
    return run(app, lambda client: client.post(path, json=body, **more))


def pointers(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422
    return [fault["pointer"] for fault in answer.json()["errors"]]


# --- API key --------------------------------------------------------------------

ASKS = {
    "/predict": {"text": "a"},
    "/predict/batch": {"texts": ["a"]},
    "/predict/stream": {"texts": ["a"]},
    "/": {"inputs": "a"},
}
GUARDED = [("POST", path) for path in ASKS] + [("GET", "/version"), ("GET", "/metrics")]
OPEN = ["/healthz", "/readyz", "/docs", "/openapi.json", "/static/page.css"]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401),
        ("", 401),
        ("Bearer", 401),
        (f"Bearer {KEY[:-1]}", 401),
        (f"Bearer {KEY}x", 401),
        (f"Bearer {KEY.upper()}", 401),
        (f"Basic {KEY}", 401),
        (KEY, 401),
        ("Bearer é", 401),
        (f"Bearer {KEY}", 200),  # the control
        (f"bearer {KEY}", 200),  # RFC 9110: the scheme's case says nothing
    ],
)
def test_only_the_key_opens_what_the_model_answers(
    method: str, path: str, given: str | None, status: int
) -> None:
    headers = {} if given is None else {"authorization": given.encode("latin-1")}

    def ask(client: Client) -> Coroutine[Any, Any, httpx.Response]:
        return client.request(method, path, json=ASKS.get(path), headers=headers)

    answer = run(make_app(api_key=KEY), ask)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["content-type"] == problems.MEDIA_TYPE
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["type"] == "/docs#unauthorized"
        assert KEY not in answer.text
    # Negative control: a server without a key asks for none.
    assert run(make_app(), ask).status_code == 200


@pytest.mark.parametrize("path", OPEN)
def test_with_a_key_health_and_the_description_stay_open(path: str) -> None:
    assert run(make_app(api_key=KEY), lambda c: c.get(path)).status_code == 200


def test_a_request_without_the_key_is_refused_before_its_body_is_read() -> None:
    async def never_ends() -> Any:
        yield b'{"text":'
        await asyncio.sleep(60)

    app = make_app(api_key=KEY)
    headers = {"content-type": "application/json"}
    answer = run(
        app, lambda c: c.post("/predict", content=never_ends(), headers=headers)
    )
    assert answer.status_code == 401


def test_with_a_key_the_front_door_leads_past_the_demo_page_that_has_none() -> None:
    for key, to, status in ((KEY, "docs", 404), (None, "ui", 200)):
        app = make_app(api_key=key)
        answer = run(app, lambda client: client.get("/"))
        assert answer.headers["location"] == to
        assert run(app, lambda client: client.get("/ui")).status_code == status


@pytest.mark.parametrize("key", ["", "short", "x" * 15, "a" * 20 + " ", "é" * 20])
def test_a_key_that_is_easily_guessed_or_that_no_header_can_hold_is_refused(
    key: str,
) -> None:
    with pytest.raises(ValidationError, match="api_key"):
        make_app(api_key=key)
    assert make_app(api_key="x" * 16).state.settings.api_key is not None


def test_the_key_stands_in_no_message_and_in_no_text_of_the_settings() -> None:
    with pytest.raises(SettingsError) as refused:
        flags.parse(ServeSettings, about="", arguments=["--api-key", "zanzibar"])
    assert "--api-key ...: " in refused.value.what
    assert "zanzibar" not in str(refused.value)
    # Negative control: what is no secret is named.
    with pytest.raises(SettingsError, match="--port zanzibar"):
        flags.parse(ServeSettings, about="", arguments=["--port", "zanzibar"])
    settings = ServeSettings(api_key=KEY)  # type: ignore[arg-type]
    assert KEY not in repr(settings) + settings.model_dump_json()


def test_the_schema_says_where_a_key_is_needed() -> None:
    schema = make_app(api_key=KEY).openapi()
    needs = {
        (method.upper(), path)
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
        if operation.get("security")
    }
    assert needs == set(GUARDED)
    page = run(make_app(api_key=KEY), lambda client: client.get("/docs")).text
    assert "--oauth2-bearer KEY" in page
    # Negative control.
    assert "securitySchemes" not in make_app().openapi()["components"]
    page = run(make_app(), lambda client: client.get("/docs")).text
    assert "--oauth2-bearer" not in page


# --- Options --------------------------------------------------------------------


class Torn(FakeModel):
    """Finds every class a little likely, in another order than that of the labels."""

    def predict(self, texts: Any) -> Any:
        scores = dict(zip(LABELS, (0.1, 0.4, 0.2, 0.3), strict=True))
        answers = super().predict(texts)
        return [
            type(a)(label="Sports", scores=scores, truncated=a.truncated)
            for a in answers
        ]


BEST_FIRST = ["Sports", "Sci/Tech", "Business", "World"]


@pytest.mark.parametrize("top_k", [None, 1, 2, 4, 99])
def test_top_k_keeps_the_likeliest_classes(top_k: int | None) -> None:
    want = LABELS if top_k is None else BEST_FIRST[:top_k]
    app = make_app(Torn())
    one = post(app, "/predict", {"text": "a", "top_k": top_k}).json()
    several = post(app, "/predict/batch", {"texts": ["a"], "top_k": top_k}).json()
    for answer in (one, several["results"][0]):
        assert list(answer["scores"]) == want
        assert answer["label"] == "Sports"


@pytest.mark.parametrize("top_k", [0, -1, 1.5, "2", True, [1]])
def test_a_top_k_that_is_no_number_of_classes_is_refused(top_k: object) -> None:
    answer = post(make_app(), "/predict", {"text": "a", "top_k": top_k})
    assert pointers(answer) == ["/top_k"]


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/predict", {"text": LONG}, ["/text"]),
        ("/predict/batch", {"texts": ["a", LONG, "b", LONG]}, ["/texts/1", "/texts/3"]),
        ("/", {"inputs": LONG}, ["/inputs"]),
        ("/", {"inputs": ["a", LONG]}, ["/inputs/1"]),
    ],
)
def test_without_truncation_a_text_that_the_model_cannot_read_whole_is_named(
    path: str, body: dict[str, Any], where: list[str]
) -> None:
    def asked(truncate: bool) -> dict[str, Any]:
        options = {"truncate": truncate}
        return {**body, **({"parameters": options} if path == "/" else options)}

    answer = post(make_app(), path, asked(truncate=False))
    assert pointers(answer) == where
    assert LONG not in answer.text
    # Negative controls: cut, it is answered; and so is a text that fits.
    assert post(make_app(), path, asked(truncate=True)).status_code == 200
    fits = {
        name: "word" if isinstance(v, str) else ["word"] for name, v in body.items()
    }
    body = fits
    assert post(make_app(), path, asked(truncate=False)).status_code == 200


# --- The Hub's form -------------------------------------------------------------


def test_the_hubs_form_gets_the_hubs_answer() -> None:
    answer = post(make_app(Torn()), "/", {"inputs": "a", "parameters": {"top_k": 3}})
    assert answer.json() == [
        [
            {"label": "Sports", "score": 0.4},
            {"label": "Sci/Tech", "score": 0.3},
            {"label": "Business", "score": 0.2},
        ]
    ]
    many = post(make_app(Torn()), "/", {"inputs": ["a", "b"]}).json()
    assert [[score["label"] for score in each] for each in many] == [BEST_FIRST] * 2


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["/inputs"]),
        ({"inputs": 1}, ["/inputs", "/inputs"]),
        ({"inputs": []}, ["/inputs", "/inputs"]),
        ({"inputs": " "}, ["/inputs"]),
        ({"inputs": ["a", " "]}, ["/inputs/1"]),
        ({"inputs": ["a"] * 33}, ["/inputs"]),
        ({"text": "a"}, ["/inputs", ""]),
        ({"inputs": "a", "zanzibar": 1}, [""]),
        ({"inputs": "a", "parameters": {"zanzibar": 1}}, ["/parameters"]),
        ({"inputs": "a", "parameters": []}, ["/parameters"]),
        ({"inputs": "a", "parameters": {"top_k": 0}}, ["/parameters/top_k"]),
        (
            {"inputs": "a", "parameters": {"function_to_apply": "sigmoid"}},
            ["/parameters/function_to_apply"],
        ),
    ],
)
def test_a_fault_in_the_hubs_form_names_its_place_and_quotes_nobody(
    body: dict[str, Any], where: list[str]
) -> None:
    answer = post(make_app(), "/", body)
    assert pointers(answer) == where
    assert "zanzibar" not in answer.text


def test_many_unknown_parameters_are_one_fault() -> None:
    parameters = {f"field{i}": 1 for i in range(15_000)}
    answer = post(make_app(), "/", {"inputs": "a", "parameters": parameters})
    assert pointers(answer) == ["/parameters"]


def test_a_text_at_which_the_model_fails_fails_the_hubs_request() -> None:
    answer = post(make_app(), "/", {"inputs": ["a", POISON]})
    assert (answer.status_code, answer.json()["type"]) == (500, "/docs#internal")


# --- The stream -----------------------------------------------------------------


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_stream_has_a_line_for_each_text_in_order_and_an_end() -> None:
    texts = [f"headline {i}" for i in range(100)]
    *results, end = lines(post(make_app(), "/predict/stream", {"texts": texts}))
    assert [line["index"] for line in results] == [*range(100)]
    assert [(line["done"], line["total"]) for line in results] == [
        (number, 100) for number in range(1, 101)
    ]
    assert [line["result"]["label"] for line in results] == [
        LABELS[sum(map(ord, text)) % 4] for text in texts
    ]
    assert end["num_failed"] == 0
    assert end["model"]["run_id"] == "proof"
    # Negative control: as one batch they are too many.
    assert post(make_app(), "/predict/batch", {"texts": texts}).status_code == 422


def test_a_line_is_sent_before_the_last_text_was_computed() -> None:
    model = FakeModel()
    app = make_app(model)
    num_texts = 3 * asking.STREAMED_TOGETHER
    body = json.dumps({"texts": ["a"] * num_texts}).encode()
    computed: list[int] = []

    async def main(client: Client) -> None:
        sent = [{"type": "http.request", "body": body}]

        async def receive() -> dict[str, Any]:
            if sent:
                return sent.pop()
            return await asyncio.Future()  # the client stays

        async def send(message: dict[str, Any]) -> None:
            if message.get("body"):
                computed.append(sum(model.batches))

        headers = [(b"content-type", b"application/json")]
        scope = {
            **{"type": "http", "method": "POST", "path": "/predict/stream"},
            **{"query_string": b"", "headers": headers, "root_path": ""},
            "http_version": "1.1",
        }
        await app(scope, receive, send)

    run(app, main)
    assert len(computed) >= num_texts
    assert computed[0] == asking.STREAMED_TOGETHER
    assert computed[-1] == num_texts  # the control


def test_in_a_stream_a_problem_stands_in_place_of_the_bad_text() -> None:
    texts = ["a", POISON, LONG, "b"]
    body = {"texts": texts, "truncate": False}
    *results, end = lines(post(make_app(), "/predict/stream", body))
    statuses = [
        line["result"].get("problem", {"status": 200})["status"] for line in results
    ]
    assert statuses == [200, 500, 422, 200]
    assert end["num_failed"] == 2


@pytest.mark.parametrize(
    ("texts", "where"),
    [
        ([], ["/texts"]),
        (["a"] * 100 + [" "], ["/texts/100"]),
        (["a"] * 201, ["/texts"]),
    ],
)
def test_what_is_wrong_with_a_stream_is_said_before_it_begins(
    texts: list[str], where: list[str]
) -> None:
    app = make_app(max_stream_texts=200)
    assert pointers(post(app, "/predict/stream", {"texts": texts})) == where
    # Negative control.
    body = {"texts": ["a"] * 200}
    assert len(lines(post(app, "/predict/stream", body))) == 201


def test_a_stream_that_finds_no_room_is_refused_and_one_that_began_waits() -> None:
    model = FakeModel()
    app = make_app(model, max_waiting=32)

    async def main(client: Client) -> None:
        def as_client(number: int) -> Client:
            transport = httpx.ASGITransport(app=app, client=(f"10.0.0.{number}", 1))
            return Client(transport=transport, base_url="http://x")

        async def ask(number: int, num_texts: int) -> httpx.Response:
            path = "/predict/stream"
            return await as_client(number).post(path, json={"texts": ["a"] * num_texts})

        model.gate.clear()
        long = asyncio.create_task(ask(1, 64))
        while not model.batches:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(ask(number, 16)) for number in (2, 3)]
        while app.state.service.num_waiting < 32:
            await asyncio.sleep(0.001)
        refused = await ask(4, 1)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        model.gate.set()
        answers = await asyncio.gather(long, *others)
        assert [lines(a)[-1]["num_failed"] for a in answers] == [0, 0, 0]

    run(app, main)


class Tiring(FakeModel):
    """Takes its time from the second batch on."""

    def predict_encoded(self, items: Any) -> Any:
        self.seconds = 1.0 if self.batches else 0.0
        return super().predict_encoded(items)


def test_the_rest_of_a_stream_that_comes_too_late_is_problems() -> None:
    body = {"texts": ["a"] * (2 * asking.STREAMED_TOGETHER)}
    answer = post(make_app(Tiring(), deadline_s=0.3), "/predict/stream", body)
    *results, end = lines(answer)
    kinds = [line["result"].get("problem", {}).get("type") for line in results]
    half = asking.STREAMED_TOGETHER
    assert kinds == [None] * half + ["/docs#deadline"] * half
    assert end["num_failed"] == half


def test_a_client_that_leaves_its_stream_ends_it() -> None:
    model = FakeModel()
    app = make_app(model)
    num_texts = 10 * asking.STREAMED_TOGETHER
    body = json.dumps({"texts": ["a"] * num_texts}).encode()

    async def main(client: Client) -> None:
        sent, left = [{"type": "http.request", "body": body}], asyncio.Event()

        async def receive() -> dict[str, Any]:
            if sent:
                return sent.pop()
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message.get("body"):
                left.set()
                await asyncio.sleep(0)

        headers = [(b"content-type", b"application/json")]
        scope = {
            **{"type": "http", "method": "POST", "path": "/predict/stream"},
            **{"query_string": b"", "headers": headers, "root_path": ""},
            "http_version": "1.1",
        }
        await app(scope, receive, send)

    run(app, main)
    assert sum(model.batches) < num_texts / 2
    assert not app.state.service._streams  # its place is free


def test_one_client_leaves_streams_for_another_and_gives_its_own_back() -> None:
    model = FakeModel()
    app = make_app(model, max_streams=4)

    async def main(client: Client) -> None:
        async def ask(number: int) -> int:
            transport = httpx.ASGITransport(app=app, client=(f"10.0.0.{number}", 1))
            async with Client(transport=transport, base_url="http://x") as one:
                body = {"texts": ["a"]}
                return int((await one.post("/predict/stream", json=body)).status_code)

        model.gate.clear()
        waiting = []
        # The first client gets two of four, the next one and the third one each.
        for number in (1, 1, 2, 3):
            waiting.append(asyncio.create_task(ask(number)))
            while app.state.service._streams.total() < len(waiting):
                await asyncio.sleep(0.001)
            if len(waiting) == 2:
                assert await ask(1) == 503
        assert await ask(4) == 503
        model.gate.set()
        assert await asyncio.gather(*waiting) == [200] * 4
        # Negative control: when they are done, there is room again.
        assert await ask(1) == 200
        assert not app.state.service._streams

    run(app, main)


# --- Scripts of other sites -----------------------------------------------------

ORIGIN = "https://me.example"
ASKING = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,authorization",
}


@pytest.mark.parametrize(
    ("origins", "origin", "allowed"),
    [
        (ORIGIN, ORIGIN, True),
        (f"http://a.example:8080,{ORIGIN}", ORIGIN, True),
        (ORIGIN, "https://me.example.evil.example", False),
        (ORIGIN, "http://me.example", False),
        (ORIGIN, "null", False),
        ("", ORIGIN, False),
    ],
)
def test_only_scripts_of_listed_sites_may_ask(
    origins: str, origin: str, allowed: bool
) -> None:
    app = make_app(cors_origins=origins, api_key=KEY)
    headers = {"origin": origin}
    want = origin if allowed else None

    async def main(client: Client) -> list[httpx.Response]:
        return [
            await client.options("/predict", headers={**headers, **ASKING}),
            await client.post("/predict", json={"text": "a"}, headers=headers | BEARER),
            # What is refused must be readable, too.
            await client.post("/predict", json={"text": "a"}, headers=headers),
            await client.post("/predict", json={"text": ""}, headers=headers | BEARER),
            await client.post(
                "/predict", content=b"x" * 300_000, headers=headers | BEARER
            ),
        ]

    preflight, *answers = run(app, main)
    assert (preflight.status_code == 200) == allowed
    assert [answer.status_code for answer in answers] == [200, 401, 422, 413]
    for answer in (preflight, *answers):
        assert answer.headers.get("access-control-allow-origin") == want
        assert "access-control-allow-credentials" not in answer.headers
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "x-request-id" in answer.headers
    for answer in answers:
        exposed = answer.headers.get("access-control-expose-headers", "")
        assert ("Retry-After" in exposed) == bool(origins)
        assert answer.headers.get("vary") == ("Origin" if origins else None)


@pytest.mark.parametrize(
    "origins",
    ["*", "me.example", f"{ORIGIN}/", f"{ORIGIN}/app", f"{ORIGIN}, {ORIGIN}", "null"],
)
def test_what_no_browser_sends_as_an_origin_is_refused(origins: str) -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        make_app(cors_origins=origins)


# --- Facts ----------------------------------------------------------------------


def test_the_version_tells_the_models_facts_and_nothing_else_of_its_file() -> None:
    facts = run(make_app(), lambda client: client.get("/version")).json()["facts"]
    known = {name: value for name, value in facts.items() if value is not None}
    assert known == {"accuracy": 0.5, "test_rows": 8}
    assert facts.keys() == contract.Facts.model_fields.keys()


@pytest.mark.parametrize(
    ("told", "facts"),
    [({}, dict.fromkeys(contract.Facts.model_fields)), ({"accuracy": ["?"]}, None)],
)
def test_an_export_without_facts_or_with_odd_ones_is_served_all_the_same(
    told: dict[str, Any], facts: object
) -> None:
    model = FakeModel()
    model.facts = told
    answer = run(make_app(model), lambda client: client.get("/version"))
    assert (answer.status_code, answer.json()["facts"]) == (200, facts)
