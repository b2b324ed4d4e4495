"""Proofs for refusals when the queue is full: whole, in order, and counted."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import problems
from helpers.served import Served
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LIMIT_S = 1.0  # of the servers below, for headers
BODY = b'{"text":"Oil prices rise"}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
POST = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WHOLE = POST + LENGTH + b"\r\n" + BODY
CLOSE = b"Connection: close\r\n"
LAST = POST + CLOSE + LENGTH + b"\r\n" + BODY


@contextlib.contextmanager
def filled(folder: Path) -> Generator[Served, None, None]:
    """A server without room: one text with a model that hangs, one in the queue."""
    limits = {"max_waiting": 1, "deadline_s": 300, "headers_timeout_s": LIMIT_S}
    server = Served(folder, seconds=300, **limits)
    with contextlib.ExitStack() as ended:
        ended.callback(server.program.kill_everything)
        for _ in range(2):
            address = ("127.0.0.1", server.port)
            waiting = ended.enter_context(socket.create_connection(address))
            waiting.sendall(WHOLE)
            time.sleep(0.3)
        yield server


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served, None, None]:
    with filled(tmp_path_factory.mktemp("full")) as server:
        yield server


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served, None, None]:
    server = Served(tmp_path_factory.mktemp("idle"))
    yield server
    server.program.kill_everything()


def answers(heard: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of each response, read by its own rules."""
    replies = []
    while heard:
        head, _, heard = heard.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        pairs = [line.split(": ", 1) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        length = int(headers.get("content-length", 0))
        replies.append((int(first.split()[1]), headers, heard[:length]))
        heard = heard[length:]
    return replies


# --- What it says ---------------------------------------------------------------


def test_a_refusal_says_all_that_an_answer_of_the_app_says(full: Served) -> None:
    named = LAST.replace(b"Host: x", b"Host: x\r\nX-Request-ID: mine-1")
    [(status, headers, body)] = answers(full.exchange(named))
    assert status == 503
    assert json.loads(body) == {
        "type": "/docs#overloaded",
        "title": "Too many requests",
        "status": 503,
        "detail": "No place in the queue; Retry-After says when.",
        "request_id": "mine-1",
    }
    assert int(headers.pop("retry-after")) >= 1
    assert headers.pop("date")
    assert headers == {
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        "x-request-id": "mine-1",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "content-security-policy": problems.HEADERS["Content-Security-Policy"],
        "cache-control": "no-store",
        "connection": "close",
    }


def test_where_there_is_room_the_same_request_is_answered(idle: Served) -> None:
    """Negative control."""
    [(status, _, body)] = answers(idle.exchange(LAST))
    assert (status, "label" in json.loads(body)) == (200, True)


@pytest.mark.parametrize("given", [b"a b", b'x","level":"error', b"a" * 65, b"\xe9"])
def test_an_id_that_could_do_harm_is_not_repeated(full: Served, given: bytes) -> None:
    named = LAST.replace(b"Host: x", b"Host: x\r\nX-Request-ID: " + given)
    [(status, headers, body)] = answers(full.exchange(named))
    assert status == 503
    assert headers["x-request-id"].encode() != given
    assert json.loads(body)["request_id"] == headers["x-request-id"]


def test_no_two_refusals_have_the_same_id(full: Served) -> None:
    replies = answers(full.exchange(WHOLE * 50 + LAST))
    assert len({headers["x-request-id"] for _, headers, _ in replies}) == 51


def test_a_path_and_a_size_are_judged_as_ever(full: Served) -> None:
    large = POST + b"Content-Length: 999999999\r\n\r\n"
    assert answers(full.exchange(large))[0][0] == 413
    for path, status in ((b"/predict?a", 503), (b"/nowhere", 404), (b"/docs", 405)):
        other = LAST.replace(b"/predict", path)
        assert answers(full.exchange(other))[0][0] == status
    batch = LAST.replace(b"/predict", b"/predict/batch")
    assert answers(full.exchange(batch))[0][0] == 503
    assert full.get("/healthz").status_code == 200


# --- Order ----------------------------------------------------------------------


def test_refusals_come_in_order_also_to_a_client_that_does_not_read(
    full: Served,
) -> None:
    """More than sockets hold: the server must wait for the reader, not keep it all."""
    num = 5000
    parts = [
        WHOLE.replace(b"Host: x", b"Host: x\r\nX-Request-ID: n%d" % i)
        for i in range(num)
    ]
    with socket.create_connection(("127.0.0.1", full.port), timeout=60) as connection:
        everything = b"".join(parts) + LAST
        sender = threading.Thread(target=connection.sendall, args=(everything,))
        sender.start()
        time.sleep(1)
        heard = b""
        while part := connection.recv(65536):
            heard += part
        sender.join()
    replies = answers(heard)
    assert [status for status, _, _ in replies] == [503] * (num + 1)
    ids = [headers["x-request-id"] for _, headers, _ in replies]
    assert ids[:num] == [f"n{i}" for i in range(num)]


def test_a_refusal_waits_for_the_answer_before_it(tmp_path: Path) -> None:
    """Who sent two requests gets two answers in order, also if one could come now."""
    server = Served(tmp_path, seconds=2.0, max_waiting=1)
    first = WHOLE.replace(b"Host: x", b"Host: x\r\nX-Request-ID: first")
    second = LAST.replace(b"Host: x", b"Host: x\r\nX-Request-ID: second")
    with contextlib.ExitStack() as ended:
        ended.callback(server.program.kill_everything)
        address = ("127.0.0.1", server.port)
        ours, other = [
            ended.enter_context(socket.create_connection(address, timeout=20))
            for _ in range(2)
        ]
        for connection, request in ((ours, first), (other, WHOLE), (ours, second)):
            connection.sendall(request)
            time.sleep(0.2)
        # Negative control: on a connection of its own it comes at once.
        assert answers(server.exchange(LAST))[0][0] == 503
        heard = b""
        while part := ours.recv(65536):
            heard += part
    ids = [headers["x-request-id"] for _, headers, _ in answers(heard)]
    assert ids == ["first", "second"]


def test_a_refusal_in_http_1_0_ends_the_connection(full: Served) -> None:
    """Its client reads until then, whatever it said about keeping it alive."""
    old = WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0")
    old = old.replace(b"Host: x", b"Host: x\r\nConnection: keep-alive")
    [(status, headers, _)] = answers(full.exchange(old))
    assert (status, headers["connection"]) == (503, "close")


def test_after_an_answer_nonsense_gets_its_own(idle: Served) -> None:
    heard = idle.exchange(WHOLE + b"NONSENSE\r\n\r\n")
    (good, _, _), (bad, headers, body) = answers(heard)
    assert (good, bad) == (200, 400)
    assert json.loads(body)["type"] == "/docs#bad-request"
    assert json.loads(body)["request_id"] == headers["x-request-id"]


# --- What HTTP allows and servers get wrong -------------------------------------


def test_who_waits_to_be_told_to_go_on_is_sent_away(full: Served) -> None:
    """A body that comes all the same is not taken for the next request."""
    asking = POST + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n"
    smuggled = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
    [(status, headers, _)] = answers(full.exchange(asking, smuggled, pause_s=0.3))
    assert status == 503
    assert headers["connection"] == "close"


def test_where_there_is_room_it_is_told_to_go_on(idle: Served) -> None:
    """Negative control."""
    asking = POST + CLOSE + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n"
    first, second = answers(idle.exchange(asking, BODY, pause_s=0.3))
    assert (first[0], second[0]) == (100, 200)


def test_a_body_that_nobody_will_read_holds_no_connection(full: Served) -> None:
    with socket.create_connection(("127.0.0.1", full.port), timeout=10) as connection:
        connection.sendall(POST + b"Content-Length: 100\r\n\r\n")
        assert answers(connection.recv(65536))[0][0] == 503
        began_s = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began_s < 10:
                connection.sendall(b"x")
                time.sleep(0.2)
    assert time.monotonic() - began_s < LIMIT_S + 3


@pytest.mark.parametrize("rest", [b"", WHOLE])
def test_who_would_rather_speak_http2_is_served_in_http1(
    idle: Served, rest: bytes
) -> None:
    """As curl and Java ask for it: in the first request, body and all."""
    asking = POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + LENGTH + b"\r\n" + BODY
    heard = idle.exchange(asking + rest + LAST)
    assert {status for status, _, _ in answers(heard)} == {200}
    assert len(answers(heard)) == 2 + bool(rest)


def test_a_trailer_is_no_header(idle: Served) -> None:
    chunked = POST + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n"
    chunked += b"%x\r\n%b\r\n0\r\nX-Request-ID: trailer\r\n\r\n" % (len(BODY), BODY)
    [(status, headers, _)] = answers(idle.exchange(chunked))
    assert status == 200
    assert headers["x-request-id"] != "trailer"


# --- Counting -------------------------------------------------------------------


def num_refused(server: Served) -> float:
    families = text_string_to_metric_families(server.get("/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == "distrinews_requests_total"
        and sample.labels["route"] == "/predict"
        and sample.labels["status"] == "503"
    )


def test_each_refusal_is_counted(full: Served) -> None:
    before = num_refused(full)
    full.exchange(WHOLE * 99 + LAST)
    assert num_refused(full) - before == 100
    full.get("/healthz")  # the control: no refusal
    assert num_refused(full) - before == 100
